/** What went wrong with a server, in the table's words: a server is no node, and its address is nobody's business. */
import { GatewayError, toGatewayError } from "../../errors.ts";

export const peer = "the Nomad server";

export const invalidAnswer = (reason: string, cause?: unknown): GatewayError =>
  new GatewayError("upstream_invalid", { peer, reason }, { cause });

/** Asks first why the signal fired; what is known of nothing else broke off. */
export const named = (error: unknown, signal: AbortSignal): GatewayError => {
  if (error instanceof GatewayError) return error;
  if (signal.aborted) return toGatewayError(signal.reason, signal);
  const { code, facts } = toGatewayError(error);
  const known = code === "internal" || code === "node_unreachable" ? "upstream_broke" : code;
  return new GatewayError(known, { ...facts, peer }, { cause: error });
};
