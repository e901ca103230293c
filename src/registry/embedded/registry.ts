/**
 * THE EMBEDDED REGISTRY: serai's own agents announce themselves, the gateway pulls each agent's allocations, and both are
 * held here as Nomad's documents. This file wires its parts; each part is its own file.
 */
import { hash } from "node:crypto";
import type { Dispatcher } from "undici";
import type { NodeDocument } from "../../documents.ts";
import { GatewayError } from "../../errors.ts";
import { isJsonObject, parseJson, stringifyJson } from "../../lib/json.ts";
import type { Clock, Closer, Log, NodeEntry, Registry } from "../../ports.ts";
import type { Feed, FeedState } from "../feed.ts";
import { Indexes } from "../indexes.ts";
import { isSameMeta, type Meta, toMeta } from "../meta.ts";
import { type BatcherObserver, MetadataBatcher } from "../metadata-batcher.ts";
import { checkNode } from "../node-document.ts";
import { loadNodes, NodeRegistry, type SavedNodes } from "../node-registry.ts";
import { type Cancel, realTimers, type Timers } from "../timers.ts";
import { type AgentAddress, type AskAgent, createAgentClient } from "./agent-client.ts";
import type { DropReason } from "./allocation-document.ts";
import { Allocations, placementOf } from "./allocations.ts";
import { type Announce, admit, type JoinTokens, nodeIdOf } from "./announce.ts";
import { EmbeddedFeed } from "./embedded-feed.ts";
import { Pull, type PullOptions, pullDefaults } from "./pull.ts";
import { bearer, type Session } from "./session.ts";
import { Sessions } from "./sessions.ts";
import { createStop } from "./stop.ts";

/** What the audit log is told. */
export interface RegistryEvent {
  readonly kind:
    | "node_joined"
    | "node_readdressed"
    | "node_down"
    | "join_refused"
    | "rival_allocation"
    | "foreign_allocation";
  readonly nodeId: string;
  readonly allocationId?: string;
  readonly address?: string;
  readonly from?: string;
  readonly reason?: string;
}

export interface EmbeddedObserver {
  audit(event: RegistryEvent): void;
  /** A document of an agent's answer was not taken. */
  dropped(reason: DropReason): void;
  pulled(result: "ok" | "failed"): void;
  readonly metadata: BatcherObserver;
}

export const silentEmbeddedObserver: EmbeddedObserver = {
  audit: () => {},
  dropped: () => {},
  pulled: () => {},
  metadata: { pending: () => {}, batched: () => {}, applied: () => {} },
};

export interface EmbeddedNeeds {
  readonly clock: Clock;
  readonly log: Log;
  readonly joinTokens: JoinTokens;
  /** Why the gateway will not dial an address (`host:port`); undefined when it may. */
  readonly addressFault: (
    address: string,
    signal: AbortSignal,
  ) => string | undefined | Promise<string | undefined>;
  /** The way to the agents; it has to hold the address policy too, for names that change. Closed by who gave it. */
  readonly dispatcher: Dispatcher;
  readonly observe?: EmbeddedObserver;
  readonly timers?: Timers;
  /** In [0, 1). */
  readonly random?: () => number;
}

export interface EmbeddedOptions extends PullOptions {
  /** Holds nodes.json; undefined keeps nothing. */
  readonly dataDirectory: string | undefined;
  readonly heartbeatMs: number;
  readonly downAfterMs: number;
  readonly swapGapMs: number;
  /** After a start, how long known nodes are waited for before an unknown allocation is called unknown. */
  readonly syncGraceMs: number;
  /** Without any agent's answer for so long beyond their waits the registry is stale. */
  readonly staleAfterMs: number;
  /** How long a look-up of an unknown id waits for agents that could not be asked. */
  readonly catchUpMs: number;
  /** A node that is down for so long is forgotten with its allocations. */
  readonly forgetAfterMs: number;
  readonly maxNodes: number;
  readonly maxAllocations: number;
  readonly maxWaiters: number;
  readonly saveDelayMs: number;
  readonly metadataIntervalMs: number;
}

export const embeddedDefaults: EmbeddedOptions = {
  ...pullDefaults,
  dataDirectory: undefined,
  heartbeatMs: 10_000,
  downAfterMs: 30_000,
  swapGapMs: 10_000,
  syncGraceMs: 15_000,
  staleAfterMs: 30_000,
  catchUpMs: 500,
  forgetAfterMs: 24 * 3_600_000,
  maxNodes: 10_000,
  maxAllocations: 500_000,
  maxWaiters: 20_000,
  saveDelayMs: 200,
  metadataIntervalMs: 10_000,
};

export interface EmbeddedRegistry extends Registry, Closer {
  readonly feed: Feed;
  readonly announce: Announce;
  /** A node's metadata was written to: its new view is asked for in the next window. */
  touchMetadata(nodeId: string): void;
  flushMetadata(signal: AbortSignal): Promise<void>;
  readonly pendingMetadata: number;
  /** Blocking queries that wait. */
  readonly waiting: number;
  /** Writes of the node registry since the start. */
  readonly nodeWrites: number;
}

const tickMs = 1_000;
const nsPerMs = 1_000_000;
const metadataTimeoutMs = 5_000;
const maxMetadataBytes = 1024 * 1024;

const entryOf = (node: NodeDocument): NodeEntry => ({
  id: node.ID,
  name: node.Name,
  status: node.Status,
  address: node.HTTPAddr,
  tls: node.TLSEnabled,
});

/** Of all that a beat may change but the metadata. */
const digestOf = (node: NodeDocument): string =>
  hash("sha256", stringifyJson({ ...node, Meta: {} }), "base64");

type Needs = Required<EmbeddedNeeds>;

class Embedded implements EmbeddedRegistry {
  readonly feed: EmbeddedFeed;
  readonly stop: Registry["stop"];
  readonly #needs: Needs;
  readonly #options: EmbeddedOptions;
  readonly #ask: AskAgent;
  readonly #indexes: Indexes;
  readonly #nodes: NodeRegistry;
  readonly #allocations: Allocations;
  readonly #sessions: Sessions;
  readonly #batcher: MetadataBatcher;
  readonly #pulls = new Set<Promise<void>>();
  readonly #audited = new Set<string>();
  readonly #startedMs: number;
  /** Nodes known from before that have not been heard yet. */
  readonly #awaited: Set<string>;
  #cancelTick: Cancel = () => {};
  #closed = false;

  constructor(needs: Needs, options: EmbeddedOptions, saved: SavedNodes) {
    this.#needs = needs;
    this.#options = options;
    this.#ask = createAgentClient(needs.dispatcher);
    this.#indexes = new Indexes(Math.max(saved.index, needs.clock.now(), 1), options);
    this.#startedMs = needs.clock.monotonic();
    this.#awaited = new Set(
      saved.nodes.filter(({ Status }) => Status !== "down").map(({ ID }) => ID),
    );
    const { clock } = needs;
    this.#nodes = new NodeRegistry(
      {
        ...needs,
        indexes: this.#indexes,
        changed: (node, index) => this.feed.tell(index, [{ kind: "node", node: entryOf(node) }]),
        removed: (id, index) => this.feed.tell(index, [{ kind: "node_gone", id }]),
      },
      { ...options, file: options.dataDirectory && `${options.dataDirectory}/nodes.json` },
      saved,
    );
    this.#allocations = new Allocations(
      {
        indexes: this.#indexes,
        changed: (index, changes) => this.feed.tell(index, changes),
        refused: (nodeId, id, reason) => this.#dropped(nodeId, reason, id),
      },
      options.maxAllocations,
    );
    this.#sessions = new Sessions(clock, options);
    this.#batcher = new MetadataBatcher(
      {
        ...needs,
        monotonic: () => clock.monotonic(),
        isKnown: (id) => this.#nodes.get(id) !== undefined,
        ask: (id, signal) => this.#askMetadata(id, signal),
        write: (id, meta) => this.#nodes.setMeta(id, meta),
        observe: needs.observe.metadata,
      },
      { intervalMs: options.metadataIntervalMs },
    );
    this.feed = new EmbeddedFeed({
      clock,
      index: () => this.#indexes.last,
      nodes: () => Iterator.from(this.#nodes.all()).map(entryOf),
      placements: () => Iterator.from(this.#allocations.all()).map(placementOf),
      placement: (id) => {
        const document = this.#allocations.get(id);
        return document && placementOf(document);
      },
      state: () => this.#state(),
      lagMs: () => this.#lagMs(),
      catchUp: (id, signal) => this.#catchUp(id, signal),
    });
    this.stop = createStop({
      clock,
      ask: this.#ask,
      allocations: this.#allocations,
      agentOf: (id) => this.#agentOf(id),
    });
    this.#tickSoon();
  }

  /* ---- Registry ---- */

  allocation(id: string) {
    return this.#allocations.get(id);
  }
  allocations() {
    return this.#allocations.all();
  }
  node(id: string) {
    return this.#nodes.get(id);
  }
  nodes() {
    return this.#nodes.all();
  }
  evaluation(id: string) {
    return this.#allocations.evaluations.get(id);
  }
  evaluations() {
    return this.#allocations.evaluations.all();
  }
  index(table: Parameters<Registry["index"]>[0]) {
    return this.#indexes.of(table);
  }
  changed(...asked: Parameters<Registry["changed"]>) {
    return this.#indexes.changed(...asked);
  }
  get waiting() {
    return this.#indexes.waiting;
  }
  get nodeWrites() {
    return this.#nodes.writes;
  }

  /* ---- nodes ---- */

  readonly announce: Announce = async ({ nodeId: text, secret, body, from }, signal) => {
    const nodeId = nodeIdOf(text);
    const { joinTokens, observe } = this.#needs;
    try {
      admit(joinTokens, secret, nodeId);
      const checked = checkNode(body, nodeId);
      if (!checked.ok) throw new GatewayError("bad_request", { text: checked.fault });
      const session =
        this.#sessions.beat(checked.value) ?? (await this.#join(checked.value, from, signal));
      this.#refresh(checked.value, session);
      return {
        HeartbeatTTL: this.#options.heartbeatMs * nsPerMs,
        PullSecret: session.pullSecret,
      };
    } catch (error) {
      if (error instanceof GatewayError)
        observe.audit({ kind: "join_refused", nodeId, from, reason: error.code });
      throw error;
    }
  };

  /** A session for a node that had none, or had it elsewhere; its document is taken as a whole. */
  async #join(node: NodeDocument, from: string, signal: AbortSignal): Promise<Session> {
    const address = node.HTTPAddr;
    const fault = await this.#needs.addressFault(address, signal);
    if (fault !== undefined)
      throw new GatewayError("bad_request", { text: `HTTPAddr ${address} is refused: ${fault}` });
    if (this.#closed) throw new GatewayError("draining");
    const beaten = this.#sessions.beat(node); // another announcement may have joined it meanwhile
    if (beaten) return beaten;
    const isElsewhere = this.#sessions.get(node.ID) !== undefined;
    if (this.#nodes.get(node.ID) === undefined && this.#nodes.size >= this.#options.maxNodes)
      throw new GatewayError("registry_unavailable", {
        reason: "it holds as many nodes as it may",
      });
    const session = this.#sessions.open(node);
    session.digest = digestOf(node);
    this.#nodes.put(node, "ready");
    this.#needs.observe.audit({
      kind: isElsewhere ? "node_readdressed" : "node_joined",
      nodeId: node.ID,
      address,
      from,
    });
    this.#batcher.touch(node.ID);
    this.#pull(session);
    return session;
  }

  /** What a beat brings. Metadata is asked for: a beat may have been on its way when it changed. */
  #refresh(node: NodeDocument, session: Session): void {
    const known = this.#nodes.get(node.ID);
    if (known === undefined) return;
    if (!isSameMeta(known.Meta, node.Meta)) this.#batcher.touch(node.ID);
    const digest = digestOf(node);
    if (session.digest === digest) return;
    session.digest = digest;
    this.#nodes.put({ ...node, Meta: known.Meta }, "ready");
  }

  #pull(session: Session): void {
    const { clock, timers, random, log, observe } = this.#needs;
    const pull = new Pull(
      {
        ask: this.#ask,
        clock,
        timers,
        random,
        log,
        commit: (nodeId, picture) => {
          this.#awaited.delete(nodeId);
          return this.#allocations.commit(nodeId, picture);
        },
        dropped: (nodeId, reason, id) => this.#dropped(nodeId, reason, id),
        pulled: (result) => observe.pulled(result),
      },
      this.#options,
      session,
    );
    const running = pull.run().finally(() => this.#pulls.delete(running));
    this.#pulls.add(running);
  }

  #agentOf(nodeId: string): AgentAddress {
    const session = this.#sessions.get(nodeId);
    if (session) return session;
    const name = this.#nodes.get(nodeId)?.Name ?? nodeId;
    throw new GatewayError("node_unreachable", { node: name, reason: "its agent is down" });
  }

  #tickSoon(): void {
    const due = this.#needs.clock.monotonic() + tickMs;
    this.#cancelTick = this.#needs.timers.after(tickMs, () => {
      this.#tick(this.#needs.clock.monotonic() - due);
      this.#tickSoon();
    });
  }

  #tick(late: number): void {
    for (const { nodeId, address } of this.#sessions.expire(late)) {
      this.#nodes.setStatus(nodeId, "down", "no heartbeat");
      this.#needs.observe.audit({ kind: "node_down", nodeId, address });
    }
    if (this.#needs.clock.monotonic() - this.#startedMs > this.#options.downAfterMs)
      for (const { ID, Status } of this.#nodes.all())
        if (Status === "initializing" && this.#sessions.get(ID) === undefined)
          this.#nodes.setStatus(ID, "down", "no heartbeat");
    this.#forget();
  }

  #forget(): void {
    const before = this.#needs.clock.now() - this.#options.forgetAfterMs;
    for (const node of this.#nodes.all()) {
      if (node.Status !== "down" || Number(node["StatusUpdatedAt"] ?? 0) * 1_000 > before) continue;
      this.#allocations.drop(node.ID);
      this.#nodes.remove(node.ID);
    }
  }

  /* ---- feed ---- */

  #state(): FeedState {
    if (this.#awaited.size > 0 && this.#uptimeMs() < this.#options.syncGraceMs) return "syncing";
    return this.#lagMs() > this.#options.staleAfterMs ? "stale" : "ready";
  }

  #uptimeMs(): number {
    return this.#needs.clock.monotonic() - this.#startedMs;
  }

  /** How long no agent has answered beyond the time it may wait with its answer. */
  #lagMs(): number {
    if (this.#sessions.size === 0) return 0;
    const { waitMs } = this.#options;
    const heard = Math.max(...Iterator.from(this.#sessions.all()).map((one) => one.lastAnswerMs));
    return Math.max(0, this.#needs.clock.monotonic() - heard - waitMs - waitMs / 16);
  }

  async #catchUp(id: string, signal: AbortSignal): Promise<void> {
    let hurried = 0;
    for (const session of this.#sessions.all()) {
      if (session.synced && session.hurry === undefined) continue;
      session.hurry?.();
      hurried++;
    }
    if (hurried === 0) return;
    const patience = new AbortController();
    const cancel = this.#needs.timers.after(this.#options.catchUpMs, () => patience.abort());
    const either = AbortSignal.any([signal, patience.signal]);
    while (!either.aborted && this.#allocations.get(id) === undefined)
      await this.#indexes.changed("allocs", this.#indexes.of("allocs"), either);
    cancel();
  }

  #dropped(nodeId: string, reason: DropReason, id: string | undefined): void {
    this.#needs.observe.dropped(reason);
    if (id === undefined || (reason !== "rival" && reason !== "foreign_node")) return;
    const key = `${nodeId} ${id}`;
    if (this.#audited.has(key)) return; // it says so with each of its answers
    if (this.#audited.size >= maxAudited) this.#audited.clear();
    this.#audited.add(key);
    const kind = reason === "rival" ? "rival_allocation" : "foreign_allocation";
    this.#needs.observe.audit({ kind, nodeId, allocationId: id });
  }

  /* ---- metadata ---- */

  touchMetadata(nodeId: string): void {
    this.#batcher.touch(nodeId);
  }
  flushMetadata(signal: AbortSignal): Promise<void> {
    return this.#batcher.flush(signal);
  }
  get pendingMetadata() {
    return this.#batcher.pending;
  }

  async #askMetadata(nodeId: string, signal: AbortSignal): Promise<Meta> {
    const session = this.#sessions.get(nodeId);
    const agent = this.#agentOf(nodeId);
    const answer = await this.#ask(
      agent,
      {
        method: "GET",
        path: "/v1/client/metadata",
        headers: session ? bearer(session) : {},
        headersTimeoutMs: metadataTimeoutMs,
        maxBytes: maxMetadataBytes,
      },
      signal,
    );
    const invalid = (reason: string): GatewayError =>
      new GatewayError("upstream_invalid", { node: agent.name, reason });
    if (answer.status !== 200) throw invalid(`it answered ${answer.status}`);
    const document = parseJson(answer.body.toString());
    const meta = isJsonObject(document) ? toMeta(document["Meta"] ?? {}) : undefined;
    if (meta === undefined) throw invalid("it is no metadata");
    return meta;
  }

  /** Brings open metadata in as far as the signal's patience goes, then ends the pulls and saves the nodes. */
  async close(signal: AbortSignal): Promise<void> {
    this.#closed = true;
    this.#cancelTick();
    await this.#batcher.close(signal);
    this.#sessions.end();
    await Promise.all(this.#pulls);
    await this.feed.close(signal);
    await this.#nodes.close();
  }
}

const maxAudited = 10_000;

/** Reads what is known from before and starts. Whoever creates it closes it. */
export const createEmbeddedRegistry = async (
  needs: EmbeddedNeeds,
  options: Partial<EmbeddedOptions> = {},
): Promise<EmbeddedRegistry> => {
  const all = { ...embeddedDefaults, ...options };
  const file = all.dataDirectory && `${all.dataDirectory}/nodes.json`;
  const saved = await loadNodes(file, needs.log);
  return new Embedded(
    {
      observe: silentEmbeddedObserver,
      timers: realTimers,
      random: Math.random,
      ...needs,
    },
    all,
    saved,
  );
};
