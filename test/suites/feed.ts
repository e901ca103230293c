/** What every feed promises (src/registry/feed.ts), as tests: each implementation runs them with its own harness. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";
import type { NodeEntry, Placement } from "../../src/ports.ts";
import type { Change, Feed, FeedState, ResyncReason, Sink } from "../../src/registry/feed.ts";

/** A source that the test changes, and the feed of it. Sources are real: processes or servers on loopback. */
export interface FeedHarness extends AsyncDisposable {
  readonly feed: Feed;
  /** Nodes that the source knows. */
  readonly nodeIds: readonly string[];
  /** Makes the source know these allocations and no others; their nodes are among `nodeIds`. */
  hold(placements: readonly Placement[]): void;
  /** The source loses its history, so that changes made meanwhile cannot be told one by one. */
  breakContinuity(): void;
  /** The source cannot be asked until `restore`. */
  lose(): void;
  restore(): void;
  /** Waits for what the feed tells; lets time go on. */
  until(what: string, condition: () => boolean): Promise<void>;
}

type Call =
  | { readonly kind: "begin"; readonly reason: ResyncReason }
  | { readonly kind: "apply"; readonly index: number }
  | { readonly kind: "complete"; readonly index: number };

/** A sink that keeps the picture and every call. */
class Picture implements Sink {
  readonly calls: Call[] = [];
  allocations = new Map<string, Placement>();
  nodes = new Map<string, NodeEntry>();
  #fresh: { allocations: Map<string, Placement>; nodes: Map<string, NodeEntry> } | undefined;

  begin(reason: ResyncReason): void {
    this.calls.push({ kind: "begin", reason });
    this.#fresh = { allocations: new Map(), nodes: new Map() };
  }

  apply(index: number, changes: readonly Change[]): void {
    this.calls.push({ kind: "apply", index });
    assert.ok(changes.length > 0, "an apply without a change");
    for (const change of changes) this.#apply(change, this.#fresh ?? this);
  }

  complete(index: number): void {
    this.calls.push({ kind: "complete", index });
    assert.ok(this.#fresh, "complete without begin");
    this.allocations = this.#fresh.allocations;
    this.nodes = this.#fresh.nodes;
    this.#fresh = undefined;
  }

  holds(placements: readonly Placement[]): boolean {
    return (
      this.allocations.size === placements.length &&
      placements.every((one) => {
        const told = this.allocations.get(one.id);
        return told?.nodeId === one.nodeId && told.terminal === one.terminal;
      })
    );
  }

  #apply(change: Change, target: Pick<Picture, "allocations" | "nodes">): void {
    if (change.kind === "allocation") target.allocations.set(change.placement.id, change.placement);
    else if (change.kind === "allocation_gone") target.allocations.delete(change.id);
    else if (change.kind === "node") target.nodes.set(change.node.id, change.node);
    else target.nodes.delete(change.id);
  }
}

const never = new AbortController().signal;

const placementOn = (harness: FeedHarness, over: Partial<Placement> = {}): Placement => ({
  id: randomUUID(),
  nodeId: harness.nodeIds[0] ?? "",
  namespace: "default",
  jobId: "web",
  taskGroup: "front",
  terminal: undefined,
  ...over,
});

const follow = (harness: FeedHarness): Picture => {
  const picture = new Picture();
  harness.feed.follow(picture);
  return picture;
};

/** Applies between two pictures carry rising indexes; those of a picture do not fall. */
const assertOrder = (calls: readonly Call[]): void => {
  let last = 0;
  let isPicture = false;
  for (const call of calls) {
    if (call.kind === "begin") {
      isPicture = true;
      last = 0;
      continue;
    }
    assert.ok(isPicture ? call.index >= last : call.index > last, `${call.index} after ${last}`);
    last = call.index;
    if (call.kind === "complete") isPicture = false;
  }
};

const waitFor = (harness: FeedHarness, picture: Picture, placements: readonly Placement[]) =>
  harness.until(`${placements.length} placements are told`, () => picture.holds(placements));

export const feedSuite = (name: string, start: () => Promise<FeedHarness>): void => {
  const check = (title: string, body: (harness: FeedHarness) => Promise<void>): void => {
    test(`${name} feed: ${title}`, async () => {
      await using harness = await start();
      await body(harness);
    });
  };

  check("a follower gets a whole picture first", async (harness) => {
    const placements = Array.from({ length: 50 }, () => placementOn(harness));
    harness.hold(placements);
    const first = follow(harness);
    await waitFor(harness, first, placements);
    const late = follow(harness);
    await waitFor(harness, late, placements);
    const [begin] = late.calls;
    assert.deepEqual(begin, { kind: "begin", reason: "start" });
    assert.ok(late.calls.some(({ kind }) => kind === "complete"));
    for (const id of harness.nodeIds) assert.equal(late.nodes.get(id)?.id, id);
  });

  check("changes follow in order, with a rising index", async (harness) => {
    const picture = follow(harness);
    let placements: Placement[] = [];
    for (let round = 0; round < 5; round++) {
      placements = [...placements.slice(1), placementOn(harness), placementOn(harness)];
      harness.hold(placements);
      await waitFor(harness, picture, placements);
    }
    assertOrder(picture.calls);
    assert.ok(harness.feed.index >= 1);
    assert.ok(harness.feed.lastChangeAtMs > 0);
  });

  check("an allocation's end is told, and so is its leaving", async (harness) => {
    const picture = follow(harness);
    const one = placementOn(harness);
    harness.hold([one]);
    await waitFor(harness, picture, [one]);
    const ended = { ...one, terminal: "failed" } as const;
    harness.hold([ended]);
    await waitFor(harness, picture, [ended]);
    harness.hold([]);
    await waitFor(harness, picture, []);
  });

  check("after a loss of history the picture is the source's again", async (harness) => {
    const picture = follow(harness);
    const [gone, kept, fresh] = [1, 2, 3].map(() => placementOn(harness));
    assert.ok(gone && kept && fresh);
    harness.hold([gone, kept]);
    await waitFor(harness, picture, [gone, kept]);
    harness.breakContinuity();
    harness.hold([kept, fresh]);
    await waitFor(harness, picture, [kept, fresh]);
    assertOrder(picture.calls);
  });

  check("after its source was away the picture is the source's again", async (harness) => {
    const picture = follow(harness);
    const before = placementOn(harness);
    const after = placementOn(harness);
    harness.hold([before]);
    await waitFor(harness, picture, [before]);
    harness.lose();
    harness.hold([after]);
    harness.restore();
    await waitFor(harness, picture, [after]);
    assertOrder(picture.calls);
  });

  check("a source away for long makes it stale, and its return ready", async (harness) => {
    const states = (wanted: FeedState) => () => harness.feed.state === wanted;
    const one = placementOn(harness);
    const picture = follow(harness);
    harness.hold([one]);
    await waitFor(harness, picture, [one]);
    await harness.until("it is ready", states("ready"));
    await harness.until("nothing lags", () => harness.feed.lagMs === 0);
    harness.lose();
    await harness.until("it is stale", states("stale"));
    assert.ok(harness.feed.lagMs > 0);
    assert.ok(picture.holds([one]), "what was known stays known");
    harness.restore();
    await harness.until("it is ready again", states("ready"));
  });

  check("a look-up finds what exists and nothing else", async (harness) => {
    const one = placementOn(harness);
    const picture = follow(harness);
    harness.hold([one]);
    await waitFor(harness, picture, [one]);
    assert.equal((await harness.feed.lookup(one.id, never))?.nodeId, one.nodeId);
    assert.equal(await harness.feed.lookup(randomUUID(), never), undefined);
  });

  check("a look-up whose caller has left rejects with the caller's reason", async (harness) => {
    const reason = new Error("the caller left");
    await assert.rejects(harness.feed.lookup(randomUUID(), AbortSignal.abort(reason)), reason);
  });

  check("who stops following is told nothing more", async (harness) => {
    const stays = follow(harness);
    const leaves = new Picture();
    const leave = harness.feed.follow(leaves);
    const one = placementOn(harness);
    harness.hold([one]);
    await waitFor(harness, stays, [one]);
    await waitFor(harness, leaves, [one]);
    leave();
    const calls = leaves.calls.length;
    harness.hold([]);
    await waitFor(harness, stays, []);
    assert.equal(leaves.calls.length, calls);
  });
};
