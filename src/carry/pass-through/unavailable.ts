/** What is said when no server could be dialled. */
import { GatewayError, toGatewayError } from "../../errors.ts";

/** None could be dialled; `cause` is what the last one said. */
export const unavailable = (cause: unknown): GatewayError => {
  const { reason } = toGatewayError(cause).facts;
  const why = reason === undefined ? "" : `: ${reason}`;
  return new GatewayError(
    "registry_unavailable",
    { reason: `none of the Nomad servers can be reached${why}` },
    { cause },
  );
};
