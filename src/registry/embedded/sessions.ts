/** The sessions of all nodes: who beats, who is late, who was announced from two places. */
import { randomBytes } from "node:crypto";
import type { NodeDocument } from "../../documents.ts";
import { GatewayError } from "../../errors.ts";
import type { Clock } from "../../ports.ts";
import type { Session } from "./session.ts";

export interface SessionsOptions {
  /** Without a beat for so long a node is down. */
  readonly downAfterMs: number;
  /** A node announced from another address changes to it at most once in this time. */
  readonly swapGapMs: number;
}

const secretBytes = 32;
/** The loop that looks for late nodes may itself be this late before it blames itself. */
const lateMs = 1_000;

export class Sessions {
  readonly #clock: Clock;
  readonly #options: SessionsOptions;
  readonly #sessions = new Map<string, Session>();
  readonly #swapped = new Map<string, number>();

  constructor(clock: Clock, options: SessionsOptions) {
    this.#clock = clock;
    this.#options = options;
  }

  get(nodeId: string): Session | undefined {
    return this.#sessions.get(nodeId);
  }

  all(): Iterable<Session> {
    return this.#sessions.values();
  }

  get size(): number {
    return this.#sessions.size;
  }

  /** The node's session while it beats from where it was; undefined when a new one has to be opened. */
  beat(node: NodeDocument): Session | undefined {
    const session = this.#sessions.get(node.ID);
    if (session === undefined) return undefined;
    if (session.address !== node.HTTPAddr || session.tls !== node.TLSEnabled) return undefined;
    session.lastBeatMs = this.#clock.monotonic();
    return session;
  }

  /**
   * Opens a node's session, ending the one it may have at another address: the newest wins. Throws
   * `registry_unavailable` when it changed its address just now.
   */
  open(node: NodeDocument): Session {
    const now = this.#clock.monotonic();
    const rival = this.#sessions.get(node.ID);
    if (rival) {
      const last = this.#swapped.get(node.ID);
      if (last !== undefined && now - last < this.#options.swapGapMs)
        throw new GatewayError("registry_unavailable", {
          reason: `node ${node.ID} was announced from two addresses; one agent has to stop`,
        });
      this.#swapped.set(node.ID, now);
      rival.end();
    }
    const controller = new AbortController();
    const session: Session = {
      nodeId: node.ID,
      name: node.Name,
      address: node.HTTPAddr,
      tls: node.TLSEnabled,
      pullSecret: randomBytes(secretBytes).toString("base64url"),
      signal: controller.signal,
      end: () => controller.abort(),
      startedAtMs: now,
      lastBeatMs: now,
      lastAnswerMs: now,
      digest: "",
      synced: false,
      hurry: undefined,
    };
    this.#sessions.set(node.ID, session);
    return session;
  }

  /** Ends and returns what has not beaten in time. `late`: how late this look itself comes. */
  expire(late: number): readonly Session[] {
    if (late > lateMs) this.#excuse(late);
    const now = this.#clock.monotonic();
    const expired = [...this.#sessions.values()].filter(
      ({ lastBeatMs }) => now - lastBeatMs > this.#options.downAfterMs,
    );
    for (const session of expired) {
      session.end();
      this.#sessions.delete(session.nodeId);
      this.#swapped.delete(session.nodeId);
    }
    return expired;
  }

  end(): void {
    for (const session of this.#sessions.values()) session.end();
    this.#sessions.clear();
  }

  /** A process that stood still has not heard the beats that came meanwhile: no node is down for it. */
  #excuse(late: number): void {
    const now = this.#clock.monotonic();
    for (const session of this.#sessions.values())
      session.lastBeatMs = Math.min(now, session.lastBeatMs + late);
  }
}
