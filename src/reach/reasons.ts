/** Why an agent could not be dialled, as one word of a closed set. Pure. */
import { errnoOf, GatewayError } from "../errors.ts";

export type Obstacle =
  | "refused"
  | "timeout"
  | "tls"
  | "address"
  | "no_address"
  | "circuit"
  | "unreachable";

const tlsCode =
  /^(?:CERT_|ERR_TLS_|ERR_SSL_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|HOSTNAME_MISMATCH$|EPROTO$)/;

export const isTlsFault = (error: unknown): boolean => tlsCode.test(errnoOf(error) ?? "");

/** A bound of connections or streams is reached; it is no fault of the node's. */
export const isFull = (error: unknown): error is GatewayError =>
  error instanceof GatewayError && error.code === "overloaded";

/** What carriage tells of an agent that it had a connection to. */
export const isOfAgent = ({ code }: GatewayError): boolean =>
  code !== "node_unreachable" && code !== "overloaded";

const byCode: Readonly<Record<string, Obstacle>> = {
  ECONNREFUSED: "refused",
  ETIMEDOUT: "timeout",
  node_unreachable: "address", // our own word: the address policy's
};

/** Of a refusal to connect: what stands behind it. Without anything behind it the node's circuit is open. */
export const obstacleOf = ({ cause }: GatewayError): Obstacle => {
  if (cause === undefined) return "circuit";
  if (isTlsFault(cause)) return "tls";
  return byCode[errnoOf(cause) ?? ""] ?? "unreachable";
};
