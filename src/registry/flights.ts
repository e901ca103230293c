/** Look-ups of what the directory does not hold: one flight an id, a bounded number of them, misses remembered briefly. */
import { LRUCache } from "lru-cache";
import { GatewayError } from "../errors.ts";
import { whileWanted } from "../lib/abort.ts";
import type { Clock } from "../ports.ts";
import type { Timers } from "./timers.ts";

export type LookupResult = "found" | "absent" | "negative" | "refused" | "failed";

export interface FlightOptions {
  /** Flights at once; one more is refused. */
  readonly maxFlights: number;
  /** How long a miss is answered without asking again. */
  readonly negativeTtlMs: number;
  readonly maxNegative: number;
  /** A flight that takes longer is given up. */
  readonly flightTimeoutMs: number;
}

export interface FlightNeeds<Found> {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly ask: (id: string, signal: AbortSignal) => Promise<Found | undefined>;
  readonly observe: (result: LookupResult) => void;
}

const unavailable = (reason: string, cause?: unknown): GatewayError =>
  new GatewayError("registry_unavailable", { reason }, { cause });

export class Flights<Found> {
  readonly #needs: FlightNeeds<Found>;
  readonly #options: FlightOptions;
  readonly #flights = new Map<string, Promise<Found | undefined>>();
  readonly #negative: LRUCache<string, true>;

  constructor(needs: FlightNeeds<Found>, options: FlightOptions) {
    this.#needs = needs;
    this.#options = options;
    this.#negative = new LRUCache({
      max: options.maxNegative,
      ttl: options.negativeTtlMs,
      ttlResolution: 0,
      perf: { now: () => needs.clock.monotonic() },
    });
  }

  get size(): number {
    return this.#flights.size;
  }

  get negative(): number {
    return this.#negative.size;
  }

  /** The id exists after all. */
  appeared(id: string): void {
    if (this.#negative.size > 0) this.#negative.delete(id);
  }

  find(id: string, signal: AbortSignal): Promise<Found | undefined> {
    if (this.#negative.get(id)) {
      this.#needs.observe("negative");
      return Promise.resolve(undefined);
    }
    const flight = this.#flights.get(id) ?? this.#start(id);
    return whileWanted(flight, signal);
  }

  #start(id: string): Promise<Found | undefined> {
    if (this.#flights.size >= this.#options.maxFlights) {
      this.#needs.observe("refused");
      return Promise.reject(unavailable("too many look-ups of unknown allocations"));
    }
    const flight = this.#fly(id).finally(() => this.#flights.delete(id));
    this.#flights.set(id, flight);
    return flight;
  }

  async #fly(id: string): Promise<Found | undefined> {
    const deadline = new AbortController();
    const cancel = this.#needs.timers.after(this.#options.flightTimeoutMs, () =>
      deadline.abort(unavailable("the look-up took too long")),
    );
    try {
      const found = await whileWanted(this.#needs.ask(id, deadline.signal), deadline.signal);
      this.#needs.observe(found === undefined ? "absent" : "found");
      if (found === undefined) this.#negative.set(id, true);
      return found;
    } catch (error) {
      this.#needs.observe("failed");
      throw error instanceof GatewayError ? error : unavailable("the look-up failed", error);
    } finally {
      cancel();
    }
  }
}
