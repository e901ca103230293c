/**
 * THE HUB: the tunnels that are open, by node. The newest tunnel of a node wins; a request for a node whose tunnel was
 * there a moment ago waits for it, a little; just after the gateway's start that may be any node.
 */
import type { Duplex } from "node:stream";
import { GatewayError } from "../errors.ts";
import type { Clock, Closer } from "../ports.ts";
import { createLink, type Link, type LinkOptions, type Opened } from "./link.ts";
import { type AdmitRefusal, silentObserver, type TunnelEnd } from "./observer.ts";
import { createOpening } from "./opening.ts";
import { createChecks } from "./vitals.ts";
import { createWaiting } from "./waiting.ts";

export interface HubEvent {
  readonly kind: "tunnel_opened" | "tunnel_replaced" | "tunnel_ended" | "tunnel_refused";
  readonly nodeId: string;
  readonly from?: string;
  readonly reason?: string;
}

export interface HubNeeds {
  readonly clock: Clock;
  readonly told: (event: HubEvent) => void;
}

export interface HubOptions extends LinkOptions {
  readonly maxTunnels?: number;
  /** A node's tunnel is replaced by another at most once in this time, milliseconds. */
  readonly swapGapMs?: number;
  /** How long a request waits for a tunnel that was there a moment ago, milliseconds. */
  readonly waitMs?: number;
  /** What a moment ago is. */
  readonly missedMs?: number;
  /** So long after the start any node may have had a tunnel a moment ago: its agent dialled a gateway that was here before. */
  readonly graceMs?: number;
  /** Requests that wait for one node. */
  readonly maxWaiting?: number;
}

const defaults = {
  maxTunnels: 10_000,
  swapGapMs: 10_000,
  waitMs: 3_000,
  missedMs: 60_000,
  graceMs: 30_000,
  maxWaiting: 256,
} as const;

/** What was proved by the hello. */
export interface Arrival {
  readonly nodeId: string;
  readonly socket: Duplex;
  readonly from: string;
  /** What proved the node; a join token where it is not said. */
  readonly credential?: "join token" | "node certificate";
  /** False when the credential counts no more. */
  readonly mayStay: () => boolean;
}

export interface HubStats {
  readonly tunnels: { readonly open: number; readonly draining: number };
  readonly streams: number;
  /** Requests that wait for a tunnel. */
  readonly waiting: number;
}

export interface Hub extends Closer {
  /** Throws `draining`, and `registry_unavailable` over the bound or for a second swap. */
  admit(nodeId: string): void;
  accept(arrival: Arrival): void;
  /** Opens a connection to a node's agent; returns how to give up. Waits for a tunnel that was lost a moment ago. */
  open(nodeId: string, opened: Opened): () => void;
  /** True when a connection can be opened now. */
  isOpen(nodeId: string): boolean;
  /** Its tunnel was there a moment ago, or may have been: `open` waits for it. */
  isExpected(nodeId: string): boolean;
  /** Undefined when none has come from the node, or long ago. */
  status(nodeId: string): TunnelStatus | undefined;
  /** `listener` is told of nodes whose tunnel takes no new connections: those that are kept for later hold it open. */
  onLeaving(listener: (nodeId: string) => void): void;
  /** Ends the tunnels whose credential counts no more, as is done each few seconds. */
  recheck(): void;
  /** Tells all agents to connect elsewhere, and takes no new ones. */
  drain(): void;
  readonly stats: HubStats;
}

/** A node's tunnel, for people. */
export type TunnelStatus =
  | { readonly state: "open"; readonly forMs: number; readonly streams: number }
  | { readonly state: "ended"; readonly agoMs: number; readonly reason: string };

interface Held extends Arrival {
  readonly link: Link;
  readonly sinceMs: number;
}

/** Tunnels of revoked tokens end in 5 s. */
const sweepMs = 4_000;
/** Why a tunnel ended is remembered for this long. */
const rememberMs = 3_600_000;
/** The refusal of a hello that was proved. */
export class NotAdmitted extends GatewayError {
  readonly why: AdmitRefusal;
  constructor(why: AdmitRefusal, reason: string) {
    super(why === "draining" ? "draining" : "registry_unavailable", { reason });
    this.why = why;
  }
}

export const createHub = ({ clock, told }: HubNeeds, given: HubOptions = {}): Hub => {
  const options = { ...defaults, ...given };
  const { observe = silentObserver } = options;
  const held = new Map<string, Held>();
  /** Tunnels that their agents leave: at most one a node. */
  const leaving = new Map<string, Held>();
  const lost = new Map<string, { readonly atMs: number; readonly reason: string }>();
  const swappedAtMs = new Map<string, number>();
  const waiting = createWaiting(clock, options);
  const listeners = new Set<(nodeId: string) => void>();
  const checks = createChecks();
  let isDraining = false;
  const now = (): number => clock.monotonic();
  const startedAtMs = now();

  const lose = (nodeId: string, reason: string): void => {
    held.delete(nodeId);
    lost.delete(nodeId);
    lost.set(nodeId, { atMs: now(), reason });
    const [oldest] = lost.keys();
    if (lost.size > options.maxTunnels && oldest !== undefined) lost.delete(oldest);
  };
  const ended = (nodeId: string, link: Link, reason: string, kind: TunnelEnd): void => {
    observe.tunnelEnded(kind);
    if (held.get(nodeId)?.link === link) lose(nodeId, reason);
    else if (leaving.get(nodeId)?.link === link) leaving.delete(nodeId);
    else return; // another has taken its place, which was told
    told({ kind: "tunnel_ended", nodeId, reason });
  };
  const left = (nodeId: string, link: Link): void => {
    const tunnel = held.get(nodeId);
    if (tunnel?.link !== link) return;
    lose(nodeId, "its agent takes no new connections through it");
    const before = leaving.get(nodeId);
    leaving.set(nodeId, tunnel);
    if (before !== undefined) {
      const reason = "the next one of its node is left too";
      before.link.end(reason, "replaced");
      told({ kind: "tunnel_ended", nodeId, reason });
    }
    for (const listener of listeners) listener(nodeId);
  };

  const recheck = (): void => {
    for (const { link, mayStay, credential = "join token" } of [
      ...held.values(),
      ...leaving.values(),
    ])
      if (!mayStay()) link.end(`its ${credential} counts no more`, "revoked");
  };
  const sweep = setInterval(() => {
    recheck();
    for (const [id, { atMs }] of lost) if (now() - atMs > rememberMs) lost.delete(id);
    for (const [id, atMs] of swappedAtMs)
      if (now() - atMs > options.swapGapMs) swappedAtMs.delete(id);
  }, sweepMs);
  sweep.unref();

  const opening = createOpening({
    linkOf: (nodeId) => held.get(nodeId)?.link,
    mayWait: (nodeId) => !isDraining && !waiting.isFull(nodeId),
    now,
    waiting,
    observe,
  });

  const isExpected = (nodeId: string): boolean => {
    if (isDraining || held.has(nodeId)) return false;
    if (waiting.isFull(nodeId)) return false;
    const goneAtMs = lost.get(nodeId)?.atMs;
    if (goneAtMs !== undefined && now() - goneAtMs <= options.missedMs) return true;
    return now() - startedAtMs < options.graceMs;
  };

  return {
    admit(nodeId) {
      const rival = held.get(nodeId);
      const last = swappedAtMs.get(nodeId);
      if (isDraining) throw new NotAdmitted("draining", "the gateway is shutting down");
      if (rival === undefined && held.size + leaving.size >= options.maxTunnels)
        throw new NotAdmitted("full", "the gateway holds as many tunnels as it may");
      if (rival !== undefined && last !== undefined && now() - last < options.swapGapMs) {
        const reason = `node ${nodeId} dials from two places; one agent has to stop`;
        throw new NotAdmitted("two_places", reason);
      }
    },
    accept(arrival) {
      const { nodeId, socket, from } = arrival;
      const rival = held.get(nodeId);
      observe.helloAccepted();
      if (rival || lost.has(nodeId)) observe.tunnelReconnected();
      if (rival) {
        swappedAtMs.set(nodeId, now());
        told({ kind: "tunnel_replaced", nodeId, from });
      } else told({ kind: "tunnel_opened", nodeId, from });
      const link: Link = createLink(
        socket,
        {
          ended: (reason, kind) => ended(nodeId, link, reason, kind),
          leaving: () => left(nodeId, link),
          checks,
        },
        options,
      );
      held.set(nodeId, { ...arrival, link, sinceMs: now() });
      lost.delete(nodeId);
      rival?.link.end("a newer tunnel of its node has taken its place", "replaced");
      waiting.wake(nodeId);
    },
    open: (nodeId, opened) =>
      isExpected(nodeId) ? opening.next(nodeId, opened) : opening.now(nodeId, opened),
    isOpen: (nodeId) => held.get(nodeId)?.link.isOpen ?? false,
    isExpected,
    status(nodeId) {
      const tunnel = held.get(nodeId);
      if (tunnel) {
        const { link, sinceMs } = tunnel;
        return { state: "open", forMs: now() - sinceMs, streams: link.streams };
      }
      const gone = lost.get(nodeId);
      return gone && { state: "ended", agoMs: now() - gone.atMs, reason: gone.reason };
    },
    onLeaving(listener) {
      listeners.add(listener);
    },
    recheck,
    drain() {
      isDraining = true;
      for (const { link } of held.values()) link.drain();
      waiting.wakeAll(); // what they wait for is taken elsewhere
    },
    get stats() {
      let streams = 0;
      let draining = leaving.size;
      for (const { link } of leaving.values()) streams += link.streams;
      for (const { link } of held.values()) {
        streams += link.streams;
        if (link.isDraining) draining += 1;
      }
      const open = held.size + leaving.size - draining;
      return { tunnels: { open, draining }, streams, waiting: waiting.size };
    },
    async close() {
      isDraining = true;
      clearInterval(sweep);
      for (const { link } of [...held.values(), ...leaving.values()])
        link.end("the gateway shuts down", "drained");
      waiting.wakeAll();
    },
  };
};
