/**
 * Where everything lives: built by one feed, asked by every request. Look-ups touch memory alone; only `find` of an id that
 * is not held asks the feed, once an id at a time.
 */
import { randomBytes } from "node:crypto";
import { LRUCache } from "lru-cache";
import { GatewayError } from "../errors.ts";
import type { Clock, Directory, NodeEntry, Placement } from "../ports.ts";
import type { Change, Feed, FeedState, ResyncReason, Sink } from "./feed.ts";
import { Flights, type LookupResult } from "./flights.ts";
import { Placements } from "./placements.ts";
import { type Cancel, realTimers, type Timers } from "./timers.ts";

export interface DirectoryOptions {
  /** Allocations held at most; more are not taken in (and then found by look-up alone). */
  readonly maxAllocations: number;
  /** Those of them that have ended; beyond it, the ones not asked for the longest are found by look-up alone. */
  readonly maxEnded: number;
  readonly maxNodes: number;
  readonly maxFlights: number;
  readonly negativeTtlMs: number;
  readonly maxNegative: number;
  readonly flightTimeoutMs: number;
}

const directoryDefaults: DirectoryOptions = {
  maxAllocations: 4_000_000,
  maxEnded: 100_000,
  maxNodes: 50_000,
  maxFlights: 256,
  negativeTtlMs: 1_500,
  maxNegative: 10_000,
  flightTimeoutMs: 5_000,
};

/** Facts for metrics; each is told as it happens. */
export interface DirectoryObserver {
  /** `held`: without asking. */
  lookedUp(result: LookupResult | "held"): void;
  resynced(reason: ResyncReason): void;
  /** The bound on allocations or nodes was reached. */
  refused(kind: "allocation" | "node"): void;
}

export const silentDirectoryObserver: DirectoryObserver = {
  lookedUp: () => {},
  resynced: () => {},
  refused: () => {},
};

export interface DirectoryNeeds {
  readonly clock: Clock;
  /** What a miss asks, and whose state decides whether a miss is an answer. */
  readonly feed: Pick<Feed, "lookup" | "state">;
  readonly observe?: DirectoryObserver;
  readonly timers?: Timers;
  readonly random?: (bytes: number) => Uint8Array;
}

const seedBytes = 8;
const sweepBudgetMs = 5;

export class PackedDirectory implements Directory, Sink {
  readonly #needs: DirectoryNeeds;
  readonly #observe: DirectoryObserver;
  readonly #timers: Timers;
  readonly #options: DirectoryOptions;
  readonly #placements: Placements;
  /** The ids of those that have ended; what falls out of it is forgotten. */
  readonly #ended: LRUCache<string, true>;
  readonly #flights: Flights<Placement>;
  #nodes = new Map<string, NodeEntry>();
  /** The nodes of a picture that is not whole yet. */
  #nextNodes: Map<string, NodeEntry> | undefined;
  #cancelSweep: Cancel = () => {};

  constructor(needs: DirectoryNeeds, options: Partial<DirectoryOptions> = {}) {
    this.#needs = needs;
    this.#observe = needs.observe ?? silentDirectoryObserver;
    this.#timers = needs.timers ?? realTimers;
    this.#options = { ...directoryDefaults, ...options };
    const seed = (needs.random ?? randomBytes)(seedBytes);
    this.#placements = new Placements(seed, this.#options.maxAllocations);
    this.#ended = new LRUCache({
      max: this.#options.maxEnded,
      dispose: (_true, id, reason) => {
        if (reason === "evict") this.#placements.delete(id);
      },
    });
    this.#flights = new Flights<Placement>(
      {
        clock: needs.clock,
        timers: this.#timers,
        ask: (id, signal) => this.#ask(id, signal),
        observe: (result) => this.#observe.lookedUp(result),
      },
      this.#options,
    );
  }

  get size(): { readonly allocations: number; readonly nodes: number } {
    return { allocations: this.#placements.size, nodes: this.#nodes.size };
  }

  /** How many nodes are in each status. Walks them all: 10,000 take half a millisecond. */
  get nodesByStatus(): Readonly<Record<NodeEntry["status"], number>> {
    const count = { ready: 0, down: 0, initializing: 0, disconnected: 0 };
    for (const { status } of this.#nodes.values()) count[status]++;
    return count;
  }

  /** Look-ups of unknown ids under way, and misses remembered. */
  get pending(): { readonly flights: number; readonly negative: number } {
    return { flights: this.#flights.size, negative: this.#flights.negative };
  }

  allocation(id: string): Placement | undefined {
    const found = this.#placements.get(id);
    if (found === undefined) return undefined;
    if (found.terminal !== undefined) this.#ended.get(id); // it was used
    this.#observe.lookedUp("held");
    return found;
  }

  node(id: string): NodeEntry | undefined {
    return this.#nodes.get(id);
  }

  /** Throws `registry_unavailable` when the feed cannot say that the id does not exist. */
  async find(id: string, signal: AbortSignal): Promise<Placement | undefined> {
    return this.allocation(id) ?? this.#flights.find(id, signal);
  }

  /** Asks the feed although the id may be held: what is held may be out of date. */
  findAnew(id: string, signal: AbortSignal): Promise<Placement | undefined> {
    return this.#flights.find(id, signal);
  }

  begin(reason: ResyncReason): void {
    this.#cancelSweep();
    this.#placements.newEpoch();
    this.#nextNodes = new Map();
    this.#observe.resynced(reason);
  }

  apply(_index: number, changes: readonly Change[]): void {
    for (const change of changes) this.#apply(change);
  }

  complete(_index: number): void {
    this.#placements.settle();
    if (this.#nextNodes) this.#nodes = this.#nextNodes;
    this.#nextNodes = undefined;
    this.#sweep();
  }

  /** Ends the sweep that may be left; the directory can be asked on. */
  close(): void {
    this.#cancelSweep();
  }

  #apply(change: Change): void {
    switch (change.kind) {
      case "allocation":
        this.#place(change.placement);
        return;
      case "allocation_gone":
        this.#placements.delete(change.id);
        this.#ended.delete(change.id);
        return;
      case "node":
        this.#setNode(change.node);
        return;
      case "node_gone":
        this.#nodes.delete(change.id);
        this.#nextNodes?.delete(change.id);
        return;
    }
  }

  #place(placement: Placement): void {
    const { id, terminal } = placement;
    const isHeld =
      this.#placements.set(placement) || (this.#makeRoom() && this.#placements.set(placement));
    if (!isHeld) {
      this.#observe.refused("allocation");
      return;
    }
    this.#flights.appeared(id);
    if (terminal === undefined) {
      if (this.#ended.size > 0) this.#ended.delete(id);
    } else if (!this.#ended.has(id)) this.#ended.set(id, true);
  }

  /** At the bound, what has ended gives way. */
  #makeRoom(): boolean {
    const { size } = this.#placements;
    while (this.#ended.size > 0 && this.#placements.size === size) this.#ended.pop();
    return this.#placements.size < size;
  }

  #setNode(node: NodeEntry): void {
    const target = this.#nextNodes ?? this.#nodes;
    if (target.size >= this.#options.maxNodes && !target.has(node.id)) {
      this.#observe.refused("node");
      return;
    }
    target.set(node.id, node);
    if (this.#nodes.has(node.id)) this.#nodes.set(node.id, node);
  }

  async #ask(id: string, signal: AbortSignal): Promise<Placement | undefined> {
    const found = await this.#needs.feed.lookup(id, signal);
    if (found) {
      this.#place(found);
      return found;
    }
    const appeared = this.#placements.get(id);
    if (appeared) return appeared;
    const state: FeedState = this.#needs.feed.state;
    if (state === "syncing")
      throw new GatewayError("registry_unavailable", { reason: "not synced yet" });
    return undefined;
  }

  /** Frees dropped entries a few milliseconds at a time. */
  #sweep(): void {
    const until = this.#needs.clock.monotonic() + sweepBudgetMs;
    while (this.#placements.sweepOne())
      if (this.#needs.clock.monotonic() > until) {
        this.#cancelSweep = this.#timers.after(0, () => this.#sweep());
        return;
      }
    this.#cancelSweep = () => {};
  }
}
