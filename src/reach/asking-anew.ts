/**
 * An agent that cannot be dialled, or does not know an allocation that the directory places there, may have moved: the
 * registry is asked anew once, and a place that differs is tried once. Otherwise the failure stands.
 */
import type { ErrorCode, GatewayError } from "../errors.ts";
import type { Scope } from "../ports.ts";
import type { Ways } from "./reach.ts";

export type Asked = "moved" | "same" | "unanswered";

export interface AskingNeeds {
  /** What the registry says now; undefined when it cannot say. */
  readonly anew: (scope: Scope, code: ErrorCode) => Promise<Scope | undefined>;
  /** Told of each answer of an agent that does not know an allocation placed there. */
  readonly misplaced: (asked: Asked) => void;
}

const nodeIn = (scope: Scope) =>
  scope.kind === "allocation" || scope.kind === "node" ? scope.node : undefined;

const compare = (before: Scope, now: Scope | undefined): Asked => {
  const [old, node] = [nodeIn(before), now && nodeIn(now)];
  if (old === undefined || node === undefined) return "unanswered";
  const isSame = old.id === node.id && old.address === node.address && old.tls === node.tls;
  return isSame ? "same" : "moved";
};

const mayHaveMoved = ({ code }: GatewayError): boolean =>
  code === "node_unreachable" || code === "unknown_allocation";

export const askingAnew = (ways: Ways, { anew, misplaced }: AskingNeeds): Ways => ({
  ...ways,
  to: (scope, exchange) => ({
    ...ways.to(scope, exchange),
    next: async (error) => {
      if (!mayHaveMoved(error)) return undefined;
      const now = await anew(scope, error.code);
      const asked = compare(scope, now);
      if (error.code === "unknown_allocation") misplaced(asked);
      return now === undefined || asked !== "moved" ? undefined : ways.to(now, exchange);
    },
  }),
});
