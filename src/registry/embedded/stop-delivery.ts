/**
 * Carries pending stops to agents that are back, with the gateway's own credential: the caller's is not kept. Begins once
 * the agent has told its allocations, and goes on until it has taken every stop or is away again.
 */
import type { Log } from "../../ports.ts";
import { pause, type Timers } from "../timers.ts";
import type { AskAgent } from "./agent-client.ts";
import type { Allocations } from "./allocations.ts";
import type { RegistryEvent } from "./events.ts";
import type { PendingStops } from "./pending-stops.ts";
import { bearer, type Session } from "./session.ts";
import { stopRequest } from "./stop.ts";

export interface StopDeliveryNeeds {
  readonly ask: AskAgent;
  readonly timers: Timers;
  readonly log: Log;
  readonly allocations: Allocations;
  readonly pending: PendingStops;
  readonly audit: (event: RegistryEvent) => void;
}

const firstBackoffMs = 250;
const maxBackoffMs = 30_000;
/** Each may wait for its tasks to end. */
const atOnce = 8;

export class StopDelivery {
  readonly #needs: StopDeliveryNeeds;
  readonly #running = new Map<Session, Promise<void>>();

  constructor(needs: StopDeliveryNeeds) {
    this.#needs = needs;
  }

  /** The node's allocations are known, or one more of its stops waits. */
  wake(session: Session): void {
    if (this.#running.has(session) || this.#needs.pending.of(session.nodeId).size === 0) return;
    const running = this.#run(session).finally(() => this.#running.delete(session));
    this.#running.set(session, running);
  }

  /** Resolves when all have noticed that their sessions ended. */
  async close(): Promise<void> {
    await Promise.all(this.#running.values());
  }

  async #run(session: Session): Promise<void> {
    const { pending, timers } = this.#needs;
    for (let backoffMs = firstBackoffMs; ; backoffMs = Math.min(2 * backoffMs, maxBackoffMs)) {
      const ids = [...pending.of(session.nodeId)];
      const lane = async (): Promise<void> => {
        for (let id = ids.shift(); id !== undefined; id = ids.shift())
          if (!session.signal.aborted) await this.#deliver(session, id);
      };
      await Promise.all(Array.from({ length: atOnce }, lane));
      if (session.signal.aborted || pending.of(session.nodeId).size === 0) return;
      await pause(timers, backoffMs, session.signal);
    }
  }

  async #deliver(session: Session, id: string): Promise<void> {
    const { allocations, log } = this.#needs;
    if (allocations.hasEnded(id)) return this.#done(session, id, "stop_dropped");
    try {
      const { status } = await this.#needs.ask(
        session,
        stopRequest(id, bearer(session)),
        session.signal,
      );
      if (status === 200) this.#done(session, id, "stop_delivered");
      else if (status === 404) this.#done(session, id, "stop_dropped");
      else log.warn({ node: session.nodeId, allocation: id, status }, "a stop was not taken");
    } catch (err) {
      if (session.signal.aborted) return;
      log.warn({ node: session.nodeId, allocation: id, err }, "a stop cannot be delivered");
    }
  }

  #done({ nodeId }: Session, id: string, kind: "stop_delivered" | "stop_dropped"): void {
    const { pending, allocations, audit } = this.#needs;
    pending.delete(id);
    if (allocations.get(id) === undefined) allocations.unexpectStop(id); // nothing will be told of it
    audit({ kind, nodeId, allocationId: id });
  }
}
