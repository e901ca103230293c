/** What is told of many things: each at most once in a while. Bounded. */
import type { Clock } from "../ports.ts";

export interface SeldomOptions {
  readonly eachMs: number;
  /** Things remembered; the one told longest ago is forgotten first. */
  readonly max: number;
}

/** True when it is time to tell of `key`. */
export const seldom = (
  { clock }: { readonly clock: Clock },
  { eachMs, max }: SeldomOptions,
): ((key: string) => boolean) => {
  const toldAtMs = new Map<string, number>();
  return (key) => {
    const now = clock.monotonic();
    const before = toldAtMs.get(key);
    if (before !== undefined && now - before < eachMs) return false;
    toldAtMs.delete(key);
    toldAtMs.set(key, now);
    const [oldest] = toldAtMs.keys();
    if (toldAtMs.size > max && oldest !== undefined) toldAtMs.delete(oldest);
    return true;
  };
};
