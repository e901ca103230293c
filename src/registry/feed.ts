/**
 * THE FEED CONTRACT. A feed tells a sink which allocations and nodes exist: a whole picture first, then ordered changes.
 * Every implementation (the embedded registry, an event stream of Nomad's servers, a store shared by replicas) passes the
 * suite in test/suites/feed.ts.
 *
 * - `follow` gives a whole picture: `begin`, any number of `apply`, `complete`. Until `complete` the sink keeps answering
 *   from the old picture; what was not told since `begin` is gone with `complete`.
 * - After that each `apply` carries an index greater than every index before it since `begin`. Changes of one `apply`
 *   belong together and are in order.
 * - A feed that cannot be sure it saw every change (a gap, an index that runs backwards, a restored source) gives a whole
 *   picture again, with the reason.
 * - `lookup` asks the source itself about one id. Its answer may be ahead of the changes, never behind them.
 * - A sink never throws; a feed calls it synchronously and from one place at a time.
 */
import type { Closer, NodeEntry, Placement } from "../ports.ts";

export type Change =
  | { readonly kind: "allocation"; readonly placement: Placement }
  | { readonly kind: "allocation_gone"; readonly id: string }
  | { readonly kind: "node"; readonly node: NodeEntry }
  | { readonly kind: "node_gone"; readonly id: string };

/** Why a whole picture is given; the metric's label. */
export type ResyncReason = "start" | "gap" | "backwards" | "reconnect" | "periodic";

export interface Sink {
  begin(reason: ResyncReason): void;
  apply(index: number, changes: readonly Change[]): void;
  complete(index: number): void;
}

/** `syncing`: no whole picture yet; `ready`; `stale`: the source has been silent for longer than it may be. */
export type FeedState = "syncing" | "ready" | "stale";

export interface Feed extends Closer {
  readonly state: FeedState;
  /** Of the last change told; 0 before the first. */
  readonly index: number;
  /** Milliseconds since the source was last heard; 0 while there is a connection to it and it is heard in time. */
  readonly lagMs: number;
  /** Wall clock of the last change, for `index_last_event_timestamp_seconds`; 0 before the first. */
  readonly lastChangeAtMs: number;
  /** What is wrong now and what to do, in one sentence; undefined while all is well. */
  readonly trouble?: string | undefined;
  /** The answer ends the following. */
  follow(sink: Sink): () => void;
  /** Rejects when the source cannot be asked now or the signal aborts. */
  lookup(id: string, signal: AbortSignal): Promise<Placement | undefined>;
}
