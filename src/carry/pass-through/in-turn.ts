/** Which server is asked, and what is said when none can be. */
import { GatewayError, toGatewayError } from "../../errors.ts";
import type { Servers } from "../../nomad/servers.ts";

/** One server after the other, the current one first, each once. */
export const inTurn = function* (servers: Servers): Generator<string, void> {
  const tried = new Set<string>();
  for (;;) {
    const origin = [servers.current, ...servers.addresses].find((one) => !tried.has(one));
    if (origin === undefined) return;
    tried.add(origin);
    yield origin;
  }
};

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
