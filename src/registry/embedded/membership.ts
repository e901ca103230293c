/** Which nodes belong to the registry: announcements, beats, nodes that fall silent, nodes that are forgotten. */
import { hash } from "node:crypto";
import type { NodeDocument } from "../../documents.ts";
import { GatewayError } from "../../errors.ts";
import { stringifyJson } from "../../lib/json.ts";
import type { Clock } from "../../ports.ts";
import { isSameMeta } from "../meta.ts";
import { checkNode } from "../node-document.ts";
import type { NodeRegistry } from "../node-registry.ts";
import type { Cancel, Timers } from "../timers.ts";
import { type Announce, admit, type JoinTokens, nodeIdOf } from "./announce.ts";
import type { RegistryEvent } from "./events.ts";
import type { Session } from "./session.ts";
import { Sessions } from "./sessions.ts";

export interface MembershipNeeds {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly joinTokens: JoinTokens;
  /** Why the gateway will not dial an address (`host:port`); undefined when it may. */
  readonly addressFault: (
    address: string,
    signal: AbortSignal,
  ) => string | undefined | Promise<string | undefined>;
  readonly nodes: NodeRegistry;
  readonly audit: (event: RegistryEvent) => void;
  /** A session has begun: its agent can be asked until its signal aborts. */
  readonly joined: (session: Session) => void;
  /** A node's metadata may differ from what is written. */
  readonly metadataChanged: (nodeId: string) => void;
  /** A node was not heard in time. */
  readonly wentDown: (nodeId: string) => void;
  /** A node is about to be forgotten. */
  readonly forgotten: (nodeId: string) => void;
}

export interface MembershipOptions {
  /** Without a beat for so long a node is down; agents are told to beat three times as often. */
  readonly downAfterMs: number;
  /** A node announced from another address changes to it at most once in this time. */
  readonly swapGapMs: number;
  /** A node that is down for so long is forgotten with its allocations. */
  readonly forgetAfterMs: number;
  readonly maxNodes: number;
}

const tickMs = 1_000;
const beatsInTime = 3;
const nsPerMs = 1_000_000;
const silent = "no heartbeat";

/** Of all that a beat may change but the metadata. */
const digestOf = (node: NodeDocument): string =>
  hash("sha256", stringifyJson({ ...node, Meta: {} }), "base64");

export class Membership {
  readonly sessions: Sessions;
  readonly #needs: MembershipNeeds;
  readonly #options: MembershipOptions;
  readonly #startedMs: number;
  /** Since when nodes are down, in monotonic time: a step of the wall clock has none forgotten, and keeps none for ever. */
  readonly #downSinceMs = new Map<string, number>();
  #cancelTick: Cancel = () => {};
  #closed = false;

  constructor(needs: MembershipNeeds, options: MembershipOptions) {
    this.#needs = needs;
    this.#options = options;
    this.sessions = new Sessions(needs.clock, options);
    this.#startedMs = needs.clock.monotonic();
    this.#tickSoon();
  }

  readonly announce: Announce = async ({ nodeId: text, body, from, ...proof }, signal) => {
    const nodeId = nodeIdOf(text);
    const { joinTokens, audit } = this.#needs;
    try {
      await admit(joinTokens, proof, nodeId);
      const checked = checkNode(body, nodeId);
      if (!checked.ok) throw new GatewayError("bad_request", { text: checked.fault });
      const node = checked.value;
      const session = this.sessions.beat(node) ?? (await this.#join(node, from, signal));
      this.#refresh(node, session);
      return {
        HeartbeatTTL: Math.floor(this.#options.downAfterMs / beatsInTime) * nsPerMs,
        PullSecret: session.pullSecret,
      };
    } catch (error) {
      if (error instanceof GatewayError)
        audit({ kind: "join_refused", nodeId, from, reason: error.code });
      throw error;
    }
  };

  /** Ends every session; joins no more. */
  close(): void {
    this.#closed = true;
    this.#cancelTick();
    this.sessions.end();
  }

  /** A session for a node that had none, or had it elsewhere; its document is taken as a whole. */
  async #join(node: NodeDocument, from: string, signal: AbortSignal): Promise<Session> {
    const { nodes, addressFault, audit, joined, metadataChanged } = this.#needs;
    const address = node.HTTPAddr;
    const fault = await addressFault(address, signal);
    if (fault !== undefined)
      throw new GatewayError("bad_request", { text: `HTTPAddr ${address} is refused: ${fault}` });
    if (this.#closed) throw new GatewayError("draining");
    const beaten = this.sessions.beat(node); // another announcement may have joined it meanwhile
    if (beaten) return beaten;
    if (nodes.get(node.ID) === undefined && nodes.size >= this.#options.maxNodes)
      throw new GatewayError("registry_unavailable", {
        reason: "it holds as many nodes as it may",
      });
    const isElsewhere = this.sessions.get(node.ID) !== undefined;
    const session = this.sessions.open(node);
    session.digest = digestOf(node);
    nodes.put(node, "ready");
    this.#downSinceMs.delete(node.ID);
    const kind = isElsewhere ? "node_readdressed" : "node_joined";
    audit({ kind, nodeId: node.ID, address, from });
    metadataChanged(node.ID); // it may have changed again while the announcement was on its way
    joined(session);
    return session;
  }

  /** What a beat brings. Metadata is asked for: a beat may have been on its way when it changed. */
  #refresh(node: NodeDocument, session: Session): void {
    session.hurry?.(); // an agent that announces itself can be asked again
    const { nodes, metadataChanged } = this.#needs;
    const known = nodes.get(node.ID);
    if (known === undefined) return;
    if (!isSameMeta(known.Meta, node.Meta)) metadataChanged(node.ID);
    const digest = digestOf(node);
    if (session.digest === digest) return;
    session.digest = digest;
    nodes.put({ ...node, Meta: known.Meta }, "ready");
  }

  #tickSoon(): void {
    const due = this.#needs.clock.monotonic() + tickMs;
    this.#cancelTick = this.#needs.timers.after(tickMs, () => {
      this.#tick(this.#needs.clock.monotonic() - due);
      this.#tickSoon();
    });
  }

  #tick(late: number): void {
    const { clock, nodes, audit } = this.#needs;
    for (const { nodeId, address } of this.sessions.expire(late)) {
      this.#down(nodeId);
      audit({ kind: "node_down", nodeId, address });
    }
    const isSettled = clock.monotonic() - this.#startedMs > this.#options.downAfterMs;
    for (const node of nodes.all()) {
      if (isSettled && node.Status === "initializing") this.#down(node.ID);
      else if (node.Status === "down") this.#forgetOld(node);
    }
  }

  #down(nodeId: string): void {
    this.#downSinceMs.set(nodeId, this.#needs.clock.monotonic());
    this.#needs.nodes.setStatus(nodeId, "down", silent);
    this.#needs.wentDown(nodeId);
  }

  #forgetOld(node: NodeDocument): void {
    const now = this.#needs.clock.monotonic();
    const sinceMs = this.#downSinceMs.get(node.ID) ?? now - this.#downBefore(node);
    this.#downSinceMs.set(node.ID, sinceMs);
    if (now - sinceMs <= this.#options.forgetAfterMs) return;
    this.#downSinceMs.delete(node.ID);
    this.#needs.forgotten(node.ID);
    this.#needs.nodes.remove(node.ID);
  }

  /** For how long a node has been down that was so at the start: of that only the wall clock tells. */
  #downBefore({ StatusUpdatedAt: downAtSeconds }: NodeDocument): number {
    if (typeof downAtSeconds !== "number") return Number.POSITIVE_INFINITY;
    return Math.max(0, this.#needs.clock.now() - downAtSeconds * 1_000);
  }
}
