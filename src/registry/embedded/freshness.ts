/** How far the picture can be trusted: nodes not heard since the start, agents that do not answer. */
import type { Clock } from "../../ports.ts";
import type { FeedState } from "../feed.ts";
import type { Indexes } from "../indexes.ts";
import type { Timers } from "../timers.ts";
import type { Sessions } from "./sessions.ts";

export interface FreshnessNeeds {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly sessions: Sessions;
  readonly indexes: Indexes;
  /** Nodes that beat before the last stop. */
  readonly awaited: Iterable<string>;
  readonly isHeld: (allocationId: string) => boolean;
}

export interface FreshnessOptions {
  readonly waitMs: number;
  /** After a start, how long known nodes are waited for before an unknown allocation is called unknown. */
  readonly syncGraceMs: number;
  /** Without any agent's answer for so long beyond their waits the registry is stale. */
  readonly staleAfterMs: number;
  /** How long a look-up of an unknown id waits for agents that could not be asked. */
  readonly catchUpMs: number;
}

const jitterOfWait = 16;

export class Freshness {
  readonly #needs: FreshnessNeeds;
  readonly #options: FreshnessOptions;
  readonly #startedMs: number;
  readonly #awaited: Set<string>;

  constructor(needs: FreshnessNeeds, options: FreshnessOptions) {
    this.#needs = needs;
    this.#options = options;
    this.#startedMs = needs.clock.monotonic();
    this.#awaited = new Set(needs.awaited);
  }

  /** A node's allocations were taken in. */
  heard(nodeId: string): void {
    this.#awaited.delete(nodeId);
  }

  get state(): FeedState {
    const uptimeMs = this.#needs.clock.monotonic() - this.#startedMs;
    if (this.#awaited.size > 0 && uptimeMs < this.#options.syncGraceMs) return "syncing";
    return this.lagMs > this.#options.staleAfterMs ? "stale" : "ready";
  }

  /** How long no agent has answered beyond the time it may wait with its answer. */
  get lagMs(): number {
    const { clock, sessions } = this.#needs;
    if (sessions.size === 0) return 0;
    const { waitMs } = this.#options;
    let heard = Number.NEGATIVE_INFINITY;
    for (const { lastAnswerMs } of sessions.all()) heard = Math.max(heard, lastAnswerMs);
    return Math.max(0, clock.monotonic() - heard - waitMs - waitMs / jitterOfWait);
  }

  /** Asks at once the agents that could not be asked, and waits a little for one that holds the allocation. */
  async catchUp(allocationId: string, signal: AbortSignal): Promise<void> {
    if (!this.#hurry()) return;
    const { timers, indexes, isHeld } = this.#needs;
    const patience = new AbortController();
    const cancel = timers.after(this.#options.catchUpMs, () => patience.abort());
    const either = AbortSignal.any([signal, patience.signal]);
    try {
      while (!either.aborted && !indexes.released && !isHeld(allocationId))
        await indexes.changed("allocs", indexes.of("allocs"), either);
    } finally {
      cancel();
    }
  }

  /** False when every agent is heard. */
  #hurry(): boolean {
    let isBehind = false;
    for (const session of this.#needs.sessions.all()) {
      if (session.synced && session.hurry === undefined) continue;
      session.hurry?.();
      isBehind = true;
    }
    return isBehind;
  }
}
