/**
 * When everything is listed: as soon as it is wanted, while the stream is open, one list at a time and none sooner than the
 * gap after the one before. A list for all ends the one that is being read; one for followers that wait goes last.
 */
import type { Clock } from "../../ports.ts";
import type { ResyncReason } from "../feed.ts";
import type { Cancel, Timers } from "../timers.ts";
import type { AskServers } from "./ask.ts";
import type { Told } from "./documents.ts";
import { Listing, ListingBroken } from "./listing.ts";
import type { NomadFeedBounds } from "./options.ts";

export interface Wanted {
  readonly reason: ResyncReason;
  readonly whom: "all" | "waiting";
}

export interface ScheduleNeeds {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly ask: AskServers;
  readonly backoffMs: (failures: number) => number;
  /** False while no stream is open: a picture that nothing continues is worth nothing. */
  readonly mayBegin: () => boolean;
  /** The first page is there. */
  readonly begin: (wanted: Wanted, index: number) => void;
  readonly tell: (told: readonly Told[]) => void;
  /** The picture is whole. */
  readonly completed: (wanted: Wanted, durationMs: number) => void;
  /** A page could not be had and will be asked for again. */
  readonly pageFailed: (error: unknown) => void;
}

export class ListingSchedule {
  readonly #needs: ScheduleNeeds;
  readonly #bounds: NomadFeedBounds;
  #wanted: Wanted | undefined;
  #running:
    | { readonly abort: AbortController; readonly run: Listing; isBegun: boolean }
    | undefined;
  #done: Promise<void> = Promise.resolve();
  #startedAtMs = Number.NEGATIVE_INFINITY;
  #cancelPump: Cancel = () => {};
  #isClosed = false;

  constructor(needs: ScheduleNeeds, bounds: NomadFeedBounds) {
    this.#needs = needs;
    this.#bounds = bounds;
  }

  get isListing(): boolean {
    return this.#running !== undefined;
  }

  want(reason: ResyncReason, whom: Wanted["whom"]): void {
    if (this.#isClosed) return;
    if (whom === "all") {
      if (this.#wanted?.whom !== "all") this.#wanted = { reason, whom };
      this.#running?.abort.abort(new ListingBroken("gap", reason));
    } else if (this.#running?.isBegun !== false) this.#wanted ??= { reason, whom }; // else it takes them along
    this.pump();
  }

  /** What the stream tells while a list is being read. */
  meanwhile(index: number, told: readonly Told[]): void {
    this.#running?.run.meanwhile(index, told);
  }

  /** Starts the list that is wanted as soon as it may. */
  pump(): void {
    this.#cancelPump();
    if (this.#isClosed || this.#wanted === undefined || this.isListing || !this.#needs.mayBegin())
      return;
    const { clock, timers } = this.#needs;
    const dueMs = this.#startedAtMs + this.#bounds.relistGapMs - clock.monotonic();
    if (dueMs > 0) {
      this.#cancelPump = timers.after(dueMs, () => this.pump());
      return;
    }
    const wanted = this.#wanted;
    this.#wanted = undefined;
    this.#startedAtMs = clock.monotonic();
    this.#done = this.#list(wanted);
  }

  close(reason: Error): Promise<void> {
    this.#isClosed = true;
    this.#cancelPump();
    this.#running?.abort.abort(reason);
    return this.#done;
  }

  async #list(wanted: Wanted): Promise<void> {
    const { clock, timers, ask, backoffMs, tell, pageFailed, begin } = this.#needs;
    const abort = new AbortController();
    const run = new Listing(
      {
        clock,
        timers,
        ask,
        backoffMs,
        tell,
        failed: pageFailed,
        begin: (index) => {
          running.isBegun = true;
          begin(wanted, index);
        },
      },
      this.#bounds,
      abort.signal,
    );
    const running = { abort, run, isBegun: false };
    this.#running = running;
    const broken = await run.run().catch((error: unknown) => error);
    this.#running = undefined;
    if (broken === undefined) this.#needs.completed(wanted, clock.monotonic() - this.#startedAtMs);
    // one that was aborted has been followed by what aborted it
    else if (!abort.signal.aborted)
      this.want(broken instanceof ListingBroken ? broken.reason : "gap", "all");
    this.pump();
  }
}
