/** The embedded registry as a feed: what it holds is the picture, and it tells its changes as it makes them. */
import type { Clock, NodeEntry, Placement } from "../../ports.ts";
import type { Change, Feed, FeedState, Sink } from "../feed.ts";
import type { Freshness } from "./freshness.ts";

export interface EmbeddedFeedNeeds {
  readonly clock: Clock;
  /** Index of everything told so far. */
  readonly index: () => number;
  readonly nodes: () => Iterable<NodeEntry>;
  readonly placements: () => Iterable<Placement>;
  readonly placement: (id: string) => Placement | undefined;
  readonly freshness: Freshness;
}

const chunk = 1_000;

function* inChunks(changes: Iterable<Change>): Generator<readonly Change[]> {
  let part: Change[] = [];
  for (const change of changes) {
    part.push(change);
    if (part.length < chunk) continue;
    yield part;
    part = [];
  }
  if (part.length > 0) yield part;
}

export class EmbeddedFeed implements Feed {
  readonly #needs: EmbeddedFeedNeeds;
  readonly #sinks = new Set<Sink>();
  #lastChangeAtMs = 0;

  constructor(needs: EmbeddedFeedNeeds) {
    this.#needs = needs;
  }

  get state(): FeedState {
    return this.#needs.freshness.state;
  }
  get index(): number {
    return this.#needs.index();
  }
  get lagMs(): number {
    return this.#needs.freshness.lagMs;
  }
  get lastChangeAtMs(): number {
    return this.#lastChangeAtMs;
  }

  follow(sink: Sink): () => void {
    const index = this.index;
    sink.begin("start");
    for (const changes of inChunks(this.#picture())) sink.apply(index, changes);
    sink.complete(index);
    this.#sinks.add(sink);
    return () => this.#sinks.delete(sink);
  }

  async lookup(id: string, signal: AbortSignal): Promise<Placement | undefined> {
    signal.throwIfAborted();
    const held = this.#needs.placement(id);
    if (held) return held;
    await this.#needs.freshness.catchUp(id, signal);
    signal.throwIfAborted();
    return this.#needs.placement(id);
  }

  close(_signal: AbortSignal): Promise<void> {
    this.#sinks.clear();
    return Promise.resolve();
  }

  /** Tells every sink. */
  tell(index: number, changes: readonly Change[]): void {
    this.#lastChangeAtMs = this.#needs.clock.now();
    for (const sink of this.#sinks) sink.apply(index, changes);
  }

  *#picture(): Generator<Change> {
    for (const node of this.#needs.nodes()) yield { kind: "node", node };
    for (const placement of this.#needs.placements()) yield { kind: "allocation", placement };
  }
}
