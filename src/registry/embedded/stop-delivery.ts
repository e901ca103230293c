/**
 * Carries pending stops to agents that are back, with the gateway's own credential: the caller's is not kept. Begins once
 * the agent has told its allocations, and goes on until it has taken every stop or is away again.
 */
import { Turns } from "../../lib/turns.ts";
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
/** To one agent. Each may wait for its tasks to end: who comes later waits behind none of those alone. */
const atOnce = 64;

/** What is on its way to one agent. */
class Course {
  readonly turns = new Turns(atOnce);
  readonly deliveries = new Map<string, Promise<void>>();
}

export class StopDelivery {
  readonly #needs: StopDeliveryNeeds;
  readonly #courses = new Map<Session, Course>();

  constructor(needs: StopDeliveryNeeds) {
    this.#needs = needs;
  }

  /** The node's allocations are known, or one more of its stops waits. */
  wake(session: Session, ids: Iterable<string> = this.#needs.pending.of(session.nodeId)): void {
    for (const id of ids) this.#begin(session, id);
  }

  /** Resolves when all have noticed that their sessions ended. */
  async close(): Promise<void> {
    await Promise.all(
      [...this.#courses.values()].flatMap(({ deliveries }) => [...deliveries.values()]),
    );
  }

  #begin(session: Session, id: string): void {
    const course = this.#courses.get(session) ?? new Course();
    this.#courses.set(session, course);
    if (!course.deliveries.has(id))
      course.deliveries.set(id, this.#untilTaken(session, id, course));
  }

  /** Asks again, less and less often, while the stop waits and the agent is there. */
  async #untilTaken(session: Session, id: string, { turns, deliveries }: Course): Promise<void> {
    const { pending, timers } = this.#needs;
    const waits = (): boolean => pending.has(id) && !session.signal.aborted;
    for (let pauseMs = firstBackoffMs; ; pauseMs = Math.min(2 * pauseMs, maxBackoffMs)) {
      await turns.take(async () => {
        if (waits()) await this.#deliver(session, id);
      });
      if (!waits()) break;
      await pause(timers, pauseMs, session.signal);
    }
    deliveries.delete(id);
    if (deliveries.size === 0) this.#courses.delete(session);
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
