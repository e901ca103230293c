/**
 * THE EMBEDDED REGISTRY: serai's own agents announce themselves, the gateway pulls each agent's allocations, and both are
 * held here as Nomad's documents. This file wires its parts; each part is its own file.
 */
import path from "node:path";
import type { Dispatcher } from "undici";
import type { NodeDocument } from "../../documents.ts";
import { GatewayError } from "../../errors.ts";
import type { Clock, Closer, Log, NodeEntry, Registry } from "../../ports.ts";
import type { Feed } from "../feed.ts";
import { Indexes } from "../indexes.ts";
import { MetadataBatcher } from "../metadata-batcher.ts";
import { loadNodes, NodeRegistry, type SavedNodes } from "../node-registry.ts";
import { realTimers, type Timers } from "../timers.ts";
import { createAgentClient } from "./agent-client.ts";
import { Allocations, placementOf } from "./allocations.ts";
import type { Announce } from "./announce.ts";
import { askMetadata } from "./ask-metadata.ts";
import { EmbeddedFeed } from "./embedded-feed.ts";
import { createDropped, type RegistryObserver, silentObserver } from "./events.ts";
import { Freshness, type FreshnessOptions } from "./freshness.ts";
import { Membership, type MembershipNeeds, type MembershipOptions } from "./membership.ts";
import { loadStops, type PendingStop, PendingStops } from "./pending-stops.ts";
import { Pull, type PullOptions, pullDefaults } from "./pull.ts";
import type { Session } from "./session.ts";
import { createStop } from "./stop.ts";
import { StopDelivery } from "./stop-delivery.ts";

export type EmbeddedObserver = RegistryObserver;

export interface EmbeddedNeeds extends Pick<MembershipNeeds, "joinTokens" | "addressFault"> {
  readonly clock: Clock;
  readonly log: Log;
  /** The way to the agents, asked for with the first question; it has to hold the address policy too, for names that change. Closed by who gave it. */
  readonly dispatcher: () => Promise<Dispatcher>;
  readonly observe?: EmbeddedObserver;
  readonly timers?: Timers;
  /** In [0, 1). */
  readonly random?: () => number;
}

export interface EmbeddedOptions extends PullOptions, MembershipOptions, FreshnessOptions {
  /** Holds nodes.json and stops.json; undefined keeps nothing. */
  readonly dataDirectory: string | undefined;
  readonly saveDelayMs: number;
  readonly maxAllocations: number;
  /** Stops that wait for their nodes. */
  readonly maxPendingStops: number;
  /** Blocking queries at once. */
  readonly maxWaiters: number;
  /** No metadata update waits longer for its batch. */
  readonly metadataIntervalMs: number;
}

const embeddedDefaults: EmbeddedOptions = {
  ...pullDefaults,
  dataDirectory: undefined,
  saveDelayMs: 200,
  downAfterMs: 30_000,
  swapGapMs: 10_000,
  forgetAfterMs: 24 * 3_600_000,
  syncGraceMs: 15_000,
  staleAfterMs: 30_000,
  catchUpMs: 500,
  maxNodes: 10_000,
  maxAllocations: 500_000,
  maxPendingStops: 10_000,
  maxWaiters: 20_000,
  metadataIntervalMs: 10_000,
};

export interface EmbeddedRegistry extends Registry, Closer {
  readonly feed: Feed;
  readonly announce: Announce;
  /** A node's metadata was written to: its new view is asked for in the next window. */
  touchMetadata(nodeId: string): void;
  flushMetadata(signal: AbortSignal): Promise<void>;
  readonly pendingMetadata: number;
  /** Stops that wait for their nodes. */
  readonly pendingStops: number;
  /** Lets every blocking query go: the gateway ends. */
  release(): void;
  /** Blocking queries that wait. */
  readonly waiting: number;
  /** Writes of the node registry since the start. */
  readonly nodeWrites: number;
}

const nsPerMs = 1_000_000n;

const entryOf = (node: NodeDocument): NodeEntry => ({
  id: node.ID,
  name: node.Name,
  status: node.Status,
  address: node.HTTPAddr,
  tls: node.TLSEnabled,
});

const fileIn = (folder: string | undefined, name: string): string | undefined =>
  folder === undefined ? undefined : path.join(folder, name);

interface Saved {
  readonly nodes: SavedNodes;
  readonly stops: readonly PendingStop[];
}

const wire = (
  needs: Required<EmbeddedNeeds>,
  options: EmbeddedOptions,
  saved: Saved,
): EmbeddedRegistry => {
  const { clock, timers, observe } = needs;
  const ask = createAgentClient(needs.dispatcher);
  const dropped = createDropped(observe);
  const indexes = new Indexes(Math.max(saved.nodes.index, clock.now(), 1), options);
  const pulls = new Set<Promise<void>>();

  const nodes = new NodeRegistry(
    {
      ...needs,
      indexes,
      changed: (node, index) => feed.tell(index, [{ kind: "node", node: entryOf(node) }]),
      removed: (id, index) => feed.tell(index, [{ kind: "node_gone", id }]),
    },
    { ...options, file: fileIn(options.dataDirectory, "nodes.json") },
    saved.nodes,
  );
  const allocations = new Allocations(
    {
      indexes,
      changed: (index, changes) => feed.tell(index, changes),
      refused: (nodeId, id, reason) => dropped(nodeId, reason, id),
    },
    options.maxAllocations,
  );
  const pending = new PendingStops(
    { ...needs, isKnown: (nodeId) => nodes.get(nodeId) !== undefined },
    { ...options, file: fileIn(options.dataDirectory, "stops.json") },
    saved.stops,
  );
  for (const { allocationId } of saved.stops)
    if (pending.has(allocationId)) allocations.expectStop(allocationId);
  const delivery = new StopDelivery({ ...needs, ask, allocations, pending, audit: observe.audit });

  const pull = (session: Session): void => {
    const commit: Allocations["commit"] = (nodeId, picture) => {
      freshness.heard(nodeId);
      const taken = allocations.commit(nodeId, picture);
      delivery.wake(session);
      return taken;
    };
    const of = { ...needs, ask, commit, dropped, pulled: observe.pulled };
    const running = new Pull(of, options, session).run().finally(() => pulls.delete(running));
    pulls.add(running);
  };
  const membership = new Membership(
    {
      ...needs,
      nodes,
      audit: observe.audit,
      joined: pull,
      metadataChanged: (id) => batcher.touch(id),
      wentDown: (id) => allocations.lose(id, BigInt(clock.now()) * nsPerMs),
      forgotten: (id) => {
        allocations.drop(id);
        for (const stop of pending.of(id)) allocations.expectStop(stop);
      },
    },
    options,
  );
  const { sessions } = membership;
  const agentOf = (nodeId: string): Session => {
    const session = sessions.get(nodeId);
    if (session) return session;
    const node = nodes.get(nodeId)?.Name ?? nodeId;
    throw new GatewayError("node_unreachable", { node, reason: "its agent is down" });
  };

  const batcher = new MetadataBatcher(
    {
      ...needs,
      monotonic: () => clock.monotonic(),
      isKnown: (id) => sessions.get(id) !== undefined, // one that is down is asked when it joins again
      ask: async (id, signal) => askMetadata(ask, agentOf(id), signal),
      write: (id, meta) => nodes.setMeta(id, meta),
      observe: observe.metadata,
    },
    { intervalMs: options.metadataIntervalMs },
  );
  const freshness = new Freshness(
    {
      clock,
      timers,
      sessions,
      indexes,
      awaited: saved.nodes.nodes.filter(({ Status }) => Status !== "down").map(({ ID }) => ID),
      isHeld: (id) => allocations.get(id) !== undefined,
    },
    options,
  );
  const feed = new EmbeddedFeed({
    clock,
    freshness,
    index: () => indexes.last,
    nodes: () => Iterator.from(nodes.all()).map(entryOf),
    placements: () => Iterator.from(allocations.all()).map(placementOf),
    placement: (id) => {
      const document = allocations.get(id);
      return document && placementOf(document);
    },
  });

  return {
    feed,
    announce: membership.announce,
    allocation: (id) => allocations.get(id),
    allocations: () => allocations.all(),
    node: (id) => nodes.get(id),
    nodes: () => nodes.all(),
    evaluation: (id) => allocations.evaluations.get(id),
    evaluations: () => allocations.evaluations.all(),
    index: (table) => indexes.of(table),
    changed: (table, index, signal) => indexes.changed(table, index, signal),
    stop: createStop({
      clock,
      ask,
      allocations,
      pending,
      sessionOf: (nodeId) => sessions.get(nodeId),
      deferred: (session, id) => delivery.wake(session, [id]),
      audit: observe.audit,
    }),
    touchMetadata: (nodeId) => batcher.touch(nodeId),
    flushMetadata: (signal) => batcher.flush(signal),
    get pendingMetadata() {
      return batcher.pending;
    },
    get pendingStops() {
      return pending.size;
    },
    release: () => indexes.release(),
    get waiting() {
      return indexes.waiting;
    },
    get nodeWrites() {
      return nodes.writes;
    },
    /** Brings open metadata in as far as the signal's patience goes, then ends the pulls and saves nodes and stops. */
    close: async (signal) => {
      await batcher.close(signal);
      membership.close();
      await Promise.all(pulls);
      await delivery.close();
      await feed.close(signal);
      await nodes.close();
      await pending.close();
    },
  };
};

/** Reads what is known from before and starts. Whoever creates it closes it. */
export const createEmbeddedRegistry = async (
  needs: EmbeddedNeeds,
  options: Partial<EmbeddedOptions> = {},
): Promise<EmbeddedRegistry> => {
  const all = { ...embeddedDefaults, ...options };
  const saved = {
    nodes: await loadNodes(fileIn(all.dataDirectory, "nodes.json"), needs.log),
    stops: await loadStops(fileIn(all.dataDirectory, "stops.json"), needs.log),
  };
  const seams = { observe: silentObserver, timers: realTimers, random: Math.random };
  return wire({ ...seams, ...needs }, all, saved);
};
