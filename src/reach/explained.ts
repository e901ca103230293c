/** The outermost layer of the ways: what could not be done is told with what is known of every way to the node. */
import { GatewayError } from "../errors.ts";
import type { Reach } from "../ports.ts";
import type { Ways } from "./reach.ts";
import { sentenceOf } from "./report.ts";

const explains: ReadonlySet<string> = new Set(["node_unreachable", "overloaded"]);

export const explained = (ways: Ways): Ways => {
  const explain = (error: unknown, node: Reach["node"] | undefined): unknown => {
    if (!(error instanceof GatewayError) || !explains.has(error.code) || node === undefined)
      return error;
    const reason = sentenceOf(ways.report(node));
    return new GatewayError(
      error.code,
      { ...error.facts, node: node.name, reason },
      { cause: error },
    );
  };
  const onward = (reach: Reach): Reach => ({
    ...reach,
    next: async (failure) => {
      try {
        const next = await reach.next?.(failure);
        if (next !== undefined) return onward(next);
      } catch (error) {
        throw explain(error, reach.node);
      }
      throw explain(failure, reach.node);
    },
  });
  return {
    ...ways,
    to(scope, exchange) {
      try {
        return onward(ways.to(scope, exchange));
      } catch (error) {
        throw explain(error, "node" in scope ? scope.node : undefined);
      }
    },
  };
};
