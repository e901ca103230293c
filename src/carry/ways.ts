/** One way after the other. Only what was certainly not done is tried again, which the way itself decides. */
import { GatewayError, toGatewayError } from "../errors.ts";
import type { Reach } from "../ports.ts";

/** `take` may throw at once. */
export const overWays = <T>(
  reach: Reach,
  signal: AbortSignal,
  take: (reach: Reach) => Promise<T>,
): Promise<T> => {
  const onward = async (thrown: unknown): Promise<T> => {
    const error = toGatewayError(thrown, signal, reach.node.name);
    // what has no name of ours yet may have happened at any time
    const next = thrown === error ? await reach.next?.(error) : undefined;
    if (next === undefined) throw error;
    return overWays(next, signal, take);
  };
  try {
    return take(reach).catch(onward);
  } catch (thrown) {
    return onward(thrown);
  }
};

/** An error of a connection that stood, in our words: its errno comes too late to say that nothing was heard. */
export const brokenOff = (named: GatewayError, thrown: unknown): GatewayError =>
  named.code === "node_unreachable" && named !== thrown
    ? new GatewayError("upstream_broke", named.facts, { cause: thrown })
    : named;
