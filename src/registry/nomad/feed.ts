/**
 * Nomad's servers as a feed. The event stream (stream-keeper.ts) is opened first, then everything is listed
 * (listing-schedule.ts), then the stream goes on: it is trusted only as far as its indexes prove that nothing was missed
 * (continuity.ts), and everything is listed again when they do not. Here the three are joined, and what they tell is told on.
 */
import type { Servers } from "../../nomad/servers.ts";
import type { Clock, Log, Placement } from "../../ports.ts";
import type { Change, Feed, FeedState, ResyncReason, Sink } from "../feed.ts";
import { type Cancel, realTimers, type Timers } from "../timers.ts";
import { type AskServers, createAskServers, reasonOf } from "./ask.ts";
import { Audience } from "./audience.ts";
import { Continuity } from "./continuity.ts";
import type { Told } from "./documents.ts";
import { feedStream, type StreamLost } from "./event-stream.ts";
import { readInTurns } from "./line-reading.ts";
import type { Line } from "./lines.ts";
import { ListingSchedule, type Wanted } from "./listing-schedule.ts";
import { lookUp } from "./look-up.ts";
import { NodeBook, type NomadNodes } from "./node-book.ts";
import { type NomadFeedObserver, silentObserver } from "./observer.ts";
import { defaultBounds, type NomadFeedBounds } from "./options.ts";
import { lacking, type OwnRights, refusalOf, whatIsMissing } from "./refusal.ts";
import { type HowLost, StreamKeeper } from "./stream-keeper.ts";
import { Trouble } from "./trouble.ts";
import { createBackoff, everyNowAndThen } from "./waits.ts";

export interface NomadFeedNeeds {
  readonly clock: Clock;
  readonly log: Log;
  readonly servers: Servers;
  /** What the gateway's own token lacks, for the words of a refusal. */
  readonly ownRights?: OwnRights;
  readonly observe?: NomadFeedObserver;
  readonly timers?: Timers;
  /** From 0 to 1, for jitter. */
  readonly random?: () => number;
}

export interface NomadFeedOptions extends Partial<NomadFeedBounds> {
  /** The gateway's own token: node:read, and read-job in every namespace. Asked before each request. */
  readonly token: () => string | undefined;
  /** Asked for by name, so that servers of another region pass the question on or say that they cannot. */
  readonly region?: string;
}

export interface NomadFeed extends Feed {
  readonly nodes: NomadNodes;
}

const closed = new Error("the feed is closed");

class ServersFeed implements NomadFeed {
  readonly nodes: NodeBook;
  readonly #needs: NomadFeedNeeds;
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #random: () => number;
  readonly #observe: NomadFeedObserver;
  readonly #bounds: NomadFeedBounds;
  readonly #ask: AskServers;
  readonly #audience = new Audience();
  readonly #stream: StreamKeeper;
  readonly #continuity: Continuity;
  readonly #schedule: ListingSchedule;
  readonly #streamTrouble: Trouble;
  readonly #listTrouble: Trouble;
  readonly #life = new AbortController();
  #following: Promise<unknown> | undefined;
  /** What the stream that is open was resumed from. */
  #resumed: number | undefined;
  #isPeriodDue = false;
  #cancelPeriod: Cancel = () => {};

  #isWhole = false;
  #index = 0;
  #lastChangeAtMs = 0;
  #heardAtMs: number;

  constructor(needs: NomadFeedNeeds, { token, region, ...bounds }: NomadFeedOptions) {
    this.#needs = needs;
    this.#clock = needs.clock;
    this.#timers = needs.timers ?? realTimers;
    this.#random = needs.random ?? Math.random;
    this.#observe = needs.observe ?? silentObserver;
    this.#bounds = { ...defaultBounds, ...bounds };
    const { clock, log, servers } = needs;
    const timers = this.#timers;
    const source = { servers, timers, token, region };
    const ask = createAskServers(source);
    this.#ask = ask;
    this.nodes = new NodeBook({ clock, timers, ask }, this.#bounds);
    this.#streamTrouble = new Trouble(log);
    this.#listTrouble = new Trouble(log);
    const backoffMs = createBackoff(this.#bounds, this.#random);
    this.#stream = new StreamKeeper({ clock, source, backoffMs }, this.#bounds, {
      query: () => {
        this.#resumed = this.#continuity.last;
        return feedStream(this.#resumed);
      },
      opened: () => this.#opened(),
      take: (line, index) => this.#take(line, index),
      ended: () => this.#continuity.endDoubt(),
      lost: (error, how) => this.#lost(error, how),
    });
    this.#continuity = new Continuity(timers, this.#bounds.resumeMs, (how) => this.#relist(how));
    this.#schedule = new ListingSchedule(
      {
        clock,
        timers,
        ask,
        backoffMs,
        mayBegin: () => this.#stream.isOpen,
        begin: (wanted, index) => this.#begin(wanted, index),
        tell: (told) => this.#audience.fill(this.#changesOf(told, true)),
        completed: (wanted, durationMs) => this.#completed(wanted, durationMs),
        pageFailed: (error) => this.#pageFailed(error),
      },
      this.#bounds,
    );
    this.#heardAtMs = clock.monotonic();
  }

  /* ---- what it tells of itself ---- */

  get state(): FeedState {
    if (!this.#isWhole) return "syncing";
    return this.#silentMs > this.#bounds.silenceMs ? "stale" : "ready";
  }

  get index(): number {
    return this.#index;
  }

  /** A stream that is open is heard in time until it has been silent for too long. */
  get lagMs(): number {
    return this.#stream.isOpen && this.#silentMs <= this.#bounds.silenceMs ? 0 : this.#silentMs;
  }

  get lastChangeAtMs(): number {
    return this.#lastChangeAtMs;
  }

  get trouble(): string | undefined {
    return this.#streamTrouble.words ?? this.#listTrouble.words;
  }

  get #silentMs(): number {
    return this.#clock.monotonic() - this.#heardAtMs;
  }

  follow(sink: Sink): () => void {
    const leave = this.#audience.join(sink);
    const { signal } = this.#life;
    if (signal.aborted) return leave;
    if (this.#following === undefined) {
      this.#following = Promise.all([this.#stream.run(signal), this.#tellMissing()]);
      this.#cancelPeriod = everyNowAndThen(
        this.#timers,
        this.#random,
        this.#bounds.relistMs,
        () => {
          if (this.#schedule.isListing) return; // it would be ended, and no list that takes this long ever be whole
          this.#isPeriodDue = true;
          this.#stream.reopen(); // which is how namespaces made since are heard of
        },
      );
    } else if (this.#stream.isOpen) this.#schedule.want("start", "waiting");
    return leave;
  }

  /** Rejects with `registry_unavailable` when the servers cannot say, with the signal's reason when it aborts. */
  lookup(id: string, signal: AbortSignal): Promise<Placement | undefined> {
    return lookUp(this.#ask, id, this.#bounds, AbortSignal.any([signal, this.#life.signal]));
  }

  async close(_signal: AbortSignal): Promise<void> {
    this.#life.abort(closed);
    this.#audience.leave();
    this.#cancelPeriod();
    this.#continuity.endDoubt();
    await this.#schedule.close(closed);
    await this.#following;
  }

  /** A refusal takes seconds to be noticed: what the token lacks is told before. */
  async #tellMissing(): Promise<void> {
    const missing = await whatIsMissing(this.#needs.ownRights, this.#life.signal);
    if (missing.length === 0 || this.#stream.isOpen || this.#life.signal.aborted) return;
    this.#streamTrouble.tell(lacking(missing), {});
  }

  /* ---- the stream ---- */

  #opened(): void {
    this.#streamTrouble.over();
    if (this.#resumed === undefined) {
      this.#continuity.forget();
      this.#relist(this.#isWhole ? "reconnect" : "start");
    } else if (this.#isPeriodDue) this.#relist("periodic");
    else this.#continuity.doubt();
    this.#isPeriodDue = false;
    if (this.#audience.isWaiting) this.#schedule.want("start", "waiting");
    this.#schedule.pump();
  }

  async #lost(error: StreamLost, { origin, wasOpen, wasSteady }: HowLost): Promise<void> {
    const { servers, ownRights } = this.#needs;
    this.#observe.streamLost(error.loss);
    // what a line that cannot be read would have told is lost: the next stream starts without an index
    if (error.loss === "garbled") this.#continuity.forget();
    const words =
      error.loss === "refused"
        ? await refusalOf({ ask: this.#ask, ownRights }, this.#bounds, this.#life.signal)
        : error.message;
    if (this.#life.signal.aborted) return;
    if (wasSteady) this.#streamTrouble.settled();
    this.#streamTrouble.tell(words, { origin, loss: error.loss });
    if (error.loss !== "ended" || !wasOpen) servers.failed(origin);
  }

  #take(line: Line, index: number | undefined): void | Promise<void> {
    this.#heardAtMs = this.#clock.monotonic();
    if (line.kind === "lost") {
      this.#needs.log.warn({}, "an event line was too long to be read");
      this.#relist("gap");
      return;
    }
    if (index === undefined || !this.#continuity.isNew(index)) return;
    if (!this.#schedule.isListing && this.#audience.isPast(index)) return;
    return this.#tell(index, line.bytes);
  }

  async #tell(index: number, bytes: Buffer): Promise<void> {
    const told = await readInTurns(bytes, this.#clock);
    if (this.#life.signal.aborted) return;
    this.#schedule.meanwhile(index, told);
    const changes = this.#changesOf(told, false);
    if (changes.length === 0) return;
    this.#audience.tell(index, changes);
    this.#index = Math.max(this.#index, index);
    this.#lastChangeAtMs = this.#clock.now();
  }

  /** Nodes that are known just so are left out, unless they belong to a picture. */
  #changesOf(told: readonly Told[], isPicture: boolean): Change[] {
    const changes: Change[] = [];
    for (const one of told) {
      if (one.kind === "node") {
        const known = this.nodes.tell(one.facts);
        if (known && (isPicture || known.changed))
          changes.push({ kind: "node", node: known.entry });
        continue;
      }
      if (one.kind === "node_gone") this.nodes.forget(one.id);
      changes.push(one);
    }
    return changes;
  }

  /* ---- the whole picture ---- */

  #relist(reason: ResyncReason): void {
    if (this.#life.signal.aborted) return;
    if (this.#isWhole && reason !== "periodic" && reason !== "start")
      this.#needs.log.info({ reason }, "everything is listed again");
    this.#schedule.want(reason, "all");
  }

  #begin({ reason, whom }: Wanted, index: number): void {
    if (whom === "all") this.#index = index;
    this.nodes.newEpoch();
    this.#audience.begin(reason, index, whom);
  }

  #pageFailed(error: unknown): void {
    this.#observe.listFailed();
    this.#listTrouble.tell(`the list cannot be read: ${reasonOf(error)}`, {});
  }

  #completed({ reason }: Wanted, durationMs: number): void {
    this.nodes.settle();
    this.#isWhole = true;
    this.#listTrouble.over();
    this.#listTrouble.settled();
    this.#audience.complete();
    this.#lastChangeAtMs = this.#clock.now();
    this.#observe.listed(reason, durationMs);
    this.#needs.log.info(
      { reason, durationMs: Math.round(durationMs), index: this.#index, nodes: this.nodes.size },
      "everything is listed",
    );
    if (this.#audience.isWaiting) this.#schedule.want("start", "waiting");
  }
}

/** Follows Nomad's servers from its first follower on; whoever creates it closes it. `servers` is not closed with it. */
export const createNomadFeed = (needs: NomadFeedNeeds, options: NomadFeedOptions): NomadFeed =>
  new ServersFeed(needs, options);
