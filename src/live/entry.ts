/** A live exchange as the ledger holds it. */
import type { Bagged } from "../lib/bag.ts";
import type { Exchange, Principal, Scope } from "../ports.ts";

/** Why an exchange ended: a closed set, the metric's label. */
export type EndReason =
  | "client" | "upstream" | "eof" | "expired" | "revoked" | "drained" | "slow" | "error"; // biome-ignore format: a row

export interface Entry extends Bagged {
  readonly exchange: Exchange;
  readonly scope: Scope;
  readonly owner: string | undefined;
  /** Undefined: the cluster's servers know. */
  principal: Principal | undefined;
  /** Monotonic: a step of the wall clock makes no right older. */
  checkedAtMs: number;
  ending: EndReason | undefined;
}

declare module "../lib/kept.ts" {
  interface Kept {
    /** The ledger's. */
    entry?: Entry | undefined;
  }
}
