/**
 * START HERE. A request is a value that travels through these small functions. `parse` (ingress/parse.ts) has filled the
 * exchange; what is hard (sockets, tunnels, feeds) lives behind a port and obeys the exchange's one signal.
 */
import type { Exchange, Principal, Reach, Scope } from "./ports.ts";

export interface Steps {
  /** Who asks; a refused credential is `permission_denied`, never anonymous. */
  readonly authenticate: (exchange: Exchange) => Principal | Promise<Principal>;
  /** The allocation with its namespace and node, or the node; an unknown allocation is refused here. */
  readonly resolve: (exchange: Exchange) => Scope | Promise<Scope>;
  /** Throws `permission_denied`. */
  readonly authorize: (principal: Principal, scope: Scope, exchange: Exchange) => void;
  /** Enters the exchange in the ledger of live ones, which ends it when the right to it ends. */
  readonly admit: (exchange: Exchange, principal: Principal, scope: Scope) => void;
  /** A way to the agent that owns the scope; refuses what no agent can answer (node down, allocation ended). */
  readonly reach: (scope: Scope, exchange: Exchange) => Reach;
  /** `principal` says with whose credential: agents may not know the caller's own. */
  readonly carry: (exchange: Exchange, principal: Principal, reach: Reach) => Promise<void>;
  /** The registry's own answers: lists, documents, stop. */
  readonly answer: (exchange: Exchange, principal: Principal, scope: Scope) => Promise<void>;
}

export const journey =
  ({ authenticate, resolve, authorize, admit, reach, carry, answer }: Steps) =>
  async (exchange: Exchange): Promise<void> => {
    // mostly known at once, and then nothing is waited for
    const asked = authenticate(exchange);
    const principal = asked instanceof Promise ? await asked : asked;
    const found = resolve(exchange);
    const scope = found instanceof Promise ? await found : found;
    authorize(principal, scope, exchange);
    admit(exchange, principal, scope);
    if (exchange.route.carriage === "registry") await answer(exchange, principal, scope);
    else await carry(exchange, principal, reach(scope, exchange));
  };
