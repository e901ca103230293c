/**
 * Nomad's servers as a feed. The event stream is opened first, then everything is listed, then the stream goes on: it is
 * trusted only as far as it proves that nothing was missed, and everything is listed again when it does not.
 */
import { setImmediate as turn } from "node:timers/promises";
import { isUuid } from "../../lib/uuid.ts";
import type { Servers } from "../../nomad/servers.ts";
import type { Clock, Log, Placement } from "../../ports.ts";
import type { Change, Feed, FeedState, ResyncReason, Sink } from "../feed.ts";
import { type Cancel, pause, realTimers, type Timers } from "../timers.ts";
import {
  type AskServers,
  createAskServers,
  type ServersSource,
  unavailable,
  wordsOf,
} from "./ask.ts";
import { Audience } from "./audience.ts";
import { lineIndex, readAllocation, readLine, readList, type Told } from "./documents.ts";
import { followEvents, type StreamLoss, StreamLost } from "./event-stream.ts";
import type { Line } from "./lines.ts";
import { Listing, ListingBroken } from "./listing.ts";
import { NodeBook, type NomadNodes } from "./node-book.ts";
import { defaultBounds, type NomadFeedBounds } from "./options.ts";
import { refusalOf } from "./refusal.ts";

/** Facts for metrics; each is told as it happens. */
export interface NomadFeedObserver {
  streamLost(loss: StreamLoss): void;
  /** A whole picture was read. */
  listed(reason: ResyncReason, durationMs: number): void;
  /** A page could not be had. */
  listFailed(): void;
}

export interface NomadFeedNeeds {
  readonly clock: Clock;
  readonly log: Log;
  readonly servers: Servers;
  readonly observe?: NomadFeedObserver;
  readonly timers?: Timers;
  /** From 0 to 1, for jitter. */
  readonly random?: () => number;
}

export interface NomadFeedOptions extends Partial<NomadFeedBounds> {
  /** The gateway's own token: node:read, and read-job in every namespace. Asked before each request. */
  readonly token: () => string | undefined;
}

export interface NomadFeed extends Feed {
  readonly nodes: NomadNodes;
}

interface Wanted {
  readonly reason: ResyncReason;
  readonly whom: "all" | "waiting";
}

const silentObserver: NomadFeedObserver = {
  streamLost: () => {},
  listed: () => {},
  listFailed: () => {},
};

const eventsBetweenLooks = 128;
const budgetMs = 8;
const periodJitter = 0.2;
const lookupMaxBytes = 1024 * 1024;
const closed = new Error("the feed is closed");
const resubscribed = new Error("the stream is opened anew");

class ServersFeed implements NomadFeed {
  readonly nodes: NodeBook;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #timers: Timers;
  readonly #random: () => number;
  readonly #observe: NomadFeedObserver;
  readonly #bounds: NomadFeedBounds;
  readonly #source: ServersSource;
  readonly #ask: AskServers;
  readonly #audience = new Audience();
  readonly #life = new AbortController();
  #following: Promise<void> | undefined;
  #session = new AbortController();

  /** The stream has shown its first heartbeat and is not over. */
  #isOpen = false;
  /** The last event's index, which the stream can be resumed from. */
  #last: number | undefined;
  /** The stream was resumed and has not shown yet that nothing was missed. */
  #isUnsure = false;
  #cancelUnsure: Cancel = () => {};
  #isPeriodDue = false;
  #cancelPeriod: Cancel = () => {};

  #wanted: Wanted | undefined;
  #listing:
    | { readonly abort: AbortController; readonly run: Listing; isBegun: boolean }
    | undefined;
  #listingDone: Promise<void> = Promise.resolve();
  #listedAtMs = Number.NEGATIVE_INFINITY;
  #cancelPump: Cancel = () => {};
  /** A picture was begun anew before it was whole, so that what vanished may have been taken over. */
  #isUntidy = false;

  #isWhole = false;
  #index = 0;
  #lastChangeAtMs = 0;
  #heardAtMs: number;
  #openedAtMs = 0;
  #lastComplaint = "";

  constructor(needs: NomadFeedNeeds, { token, ...bounds }: NomadFeedOptions) {
    this.#clock = needs.clock;
    this.#log = needs.log;
    this.#timers = needs.timers ?? realTimers;
    this.#random = needs.random ?? Math.random;
    this.#observe = needs.observe ?? silentObserver;
    this.#bounds = { ...defaultBounds, ...bounds };
    this.#source = { servers: needs.servers, timers: this.#timers, token };
    this.#ask = createAskServers(this.#source);
    this.nodes = new NodeBook(
      { clock: this.#clock, timers: this.#timers, ask: this.#ask },
      this.#bounds,
    );
    this.#heardAtMs = this.#clock.monotonic();
  }

  /* ---- what it tells of itself ---- */

  get state(): FeedState {
    if (!this.#isWhole) return "syncing";
    return this.lagMs > 0 ? "stale" : "ready";
  }

  get index(): number {
    return this.#index;
  }

  get lagMs(): number {
    const silentMs = this.#clock.monotonic() - this.#heardAtMs;
    return silentMs > this.#bounds.silenceMs ? silentMs : 0;
  }

  get lastChangeAtMs(): number {
    return this.#lastChangeAtMs;
  }

  follow(sink: Sink): () => void {
    const leave = this.#audience.join(sink);
    if (this.#life.signal.aborted) return leave;
    if (this.#following === undefined) {
      this.#following = this.#follow();
      this.#schedulePeriod();
    } else if (this.#isOpen) this.#want("start", "waiting");
    return leave;
  }

  /** Rejects with `registry_unavailable` when the servers cannot say, with the signal's reason when it aborts. */
  async lookup(id: string, signal: AbortSignal): Promise<Placement | undefined> {
    signal.throwIfAborted();
    if (!isUuid(id)) return undefined;
    const answer = await this.#ask(
      `/v1/allocations?prefix=${id}&namespace=*&task_states=false`,
      { timeoutMs: this.#bounds.answerTimeoutMs, maxBytes: lookupMaxBytes },
      AbortSignal.any([signal, this.#life.signal]),
    );
    if (answer.status !== 200)
      throw unavailable(`the servers refuse the look-up: ${answer.status} ${wordsOf(answer.body)}`);
    for (const placement of this.#readOrThrow(answer.body))
      if (placement.id === id) return placement;
    return undefined;
  }

  async close(_signal: AbortSignal): Promise<void> {
    this.#life.abort(closed);
    this.#session.abort(closed);
    this.#listing?.abort.abort(closed);
    this.#audience.leave();
    this.#cancelPump();
    this.#cancelPeriod();
    this.#cancelUnsure();
    await this.#following;
    await this.#listingDone;
  }

  #readOrThrow(body: Buffer): readonly Placement[] {
    try {
      return [...readList(body, readAllocation)];
    } catch (error) {
      throw unavailable("a server's answer is no list of allocations", error);
    }
  }

  /* ---- the stream ---- */

  async #follow(): Promise<void> {
    const { signal } = this.#life;
    for (let failures = 0; !signal.aborted; failures++) {
      const reason = await this.#stream();
      if (signal.aborted) return;
      if (reason === resubscribed || this.#wasSteady()) failures = 0;
      if (reason !== resubscribed) await pause(this.#timers, this.#backoffMs(failures), signal);
    }
  }

  #wasSteady(): boolean {
    const { steadyMs } = this.#bounds;
    return this.#openedAtMs > 0 && this.#clock.monotonic() - this.#openedAtMs >= steadyMs;
  }

  /** One connection from its head to its end; the answer is why it ended. */
  async #stream(): Promise<unknown> {
    const origin = this.#source.servers.current;
    const resumed = this.#last;
    this.#session = new AbortController();
    this.#openedAtMs = 0;
    const take = (line: Line): void | Promise<void> => {
      if (!this.#isOpen) this.#opened(resumed);
      return this.#take(line);
    };
    try {
      const signal = AbortSignal.any([this.#life.signal, this.#session.signal]);
      return await followEvents(
        this.#source,
        { origin, index: resumed, take },
        this.#bounds,
        signal,
      );
    } catch (error) {
      if (error instanceof StreamLost) await this.#lost(error, origin);
      return error;
    } finally {
      this.#isOpen = false;
      this.#isUnsure = false;
      this.#cancelUnsure();
    }
  }

  async #lost(error: StreamLost, origin: string): Promise<void> {
    this.#observe.streamLost(error.loss);
    const wasOpen = this.#isOpen;
    if (error.loss === "refused") {
      const reason = await refusalOf(this.#ask, this.#bounds, this.#life.signal);
      this.#complain(`the event stream is refused: ${reason}`, { origin });
    } else
      this.#complain(`the event stream is lost: ${error.message}`, { origin, loss: error.loss });
    if (error.loss !== "ended" || !wasOpen) this.#source.servers.failed(origin);
  }

  /** Says one thing once, until all is well again. */
  #complain(words: string, fields: object): void {
    if (this.#life.signal.aborted || words === this.#lastComplaint) return;
    this.#lastComplaint = words;
    this.#log.warn(fields, words);
  }

  #opened(resumed: number | undefined): void {
    this.#isOpen = true;
    this.#openedAtMs = this.#clock.monotonic();
    this.#lastComplaint = "";
    if (resumed === undefined) {
      this.#last = undefined;
      this.#want(this.#isWhole ? "reconnect" : "start", "all");
    } else if (this.#isPeriodDue) this.#want("periodic", "all");
    else {
      this.#isUnsure = true;
      this.#cancelUnsure = this.#timers.after(this.#bounds.resumeMs, () => {
        this.#isUnsure = false;
        this.#want("gap", "all");
      });
    }
    this.#isPeriodDue = false;
    if (this.#audience.isWaiting) this.#want("start", "waiting");
    this.#pump();
  }

  #take(line: Line): void | Promise<void> {
    this.#heardAtMs = this.#clock.monotonic();
    if (line.kind === "lost") {
      this.#log.warn({}, "an event line was too long to be read; everything is listed again");
      this.#want("gap", "all");
      return;
    }
    const index = this.#readOr(() => lineIndex(line.bytes));
    if (index === undefined || !this.#isNext(index)) return;
    if (this.#listing === undefined && this.#audience.isPast(index)) return;
    return this.#tell(index, line.bytes);
  }

  /** What a line that cannot be read would have told is lost: the next stream starts without an index. */
  #readOr<Value>(read: () => Value): Value {
    try {
      return read();
    } catch (error) {
      this.#last = undefined;
      throw new StreamLost("garbled", "the server sent a line that is no event", { cause: error });
    }
  }

  /** False for an event that was told before. Where events may be missing, everything is listed again. */
  #isNext(index: number): boolean {
    const last = this.#last;
    const wasUnsure = this.#isUnsure;
    this.#isUnsure = false;
    this.#cancelUnsure();
    this.#last = index;
    if (last === undefined) return true;
    if (index < last) {
      this.#want("backwards", "all");
      return true;
    }
    if (wasUnsure && index > last) this.#want("gap", "all");
    return index > last;
  }

  async #tell(index: number, bytes: Buffer): Promise<void> {
    const told: Told[] = [];
    const events = readLine(bytes);
    let until = this.#clock.monotonic() + budgetMs;
    for (;;) {
      const next = this.#readOr(() => events.next());
      if (next.done) break;
      told.push(next.value);
      if (told.length % eventsBetweenLooks !== 0 || this.#clock.monotonic() < until) continue;
      await turn();
      until = this.#clock.monotonic() + budgetMs;
    }
    if (this.#life.signal.aborted) return;
    this.#listing?.run.meanwhile(index, told);
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

  /** A picture for all comes before one for who waits; it ends the one that is being read. */
  #want(reason: ResyncReason, whom: Wanted["whom"]): void {
    if (this.#life.signal.aborted) return;
    if (whom === "all") {
      if (this.#wanted?.whom !== "all") this.#wanted = { reason, whom };
      if (this.#isWhole && reason !== "periodic" && reason !== "start")
        this.#log.info({ reason }, "everything is listed again");
      this.#listing?.abort.abort(new ListingBroken("gap", reason));
    } else if (this.#listing?.isBegun !== false) this.#wanted ??= { reason, whom }; // else it takes them along
    this.#pump();
  }

  /** Starts the listing that is wanted as soon as it may. */
  #pump(): void {
    this.#cancelPump();
    if (this.#wanted === undefined || this.#listing !== undefined || !this.#isOpen) return;
    const dueMs = this.#listedAtMs + this.#bounds.relistGapMs - this.#clock.monotonic();
    if (dueMs > 0) {
      this.#cancelPump = this.#timers.after(dueMs, () => this.#pump());
      return;
    }
    const wanted = this.#wanted;
    this.#wanted = undefined;
    this.#listedAtMs = this.#clock.monotonic();
    this.#listingDone = this.#list(wanted);
  }

  async #list({ reason, whom }: Wanted): Promise<void> {
    const abort = new AbortController();
    const startedMs = this.#clock.monotonic();
    const run = new Listing(
      {
        clock: this.#clock,
        timers: this.#timers,
        ask: this.#ask,
        backoffMs: (failures) => this.#backoffMs(failures),
        begin: (index) => this.#begin({ reason, whom }, index),
        tell: (told) => this.#audience.fill(this.#changesOf(told, true)),
        failed: (error) => this.#pageFailed(error),
      },
      this.#bounds,
      abort.signal,
    );
    this.#listing = { abort, run, isBegun: false };
    let retry: Wanted | undefined;
    try {
      await run.run();
      this.#completed(reason, whom, this.#clock.monotonic() - startedMs);
    } catch (error) {
      if (this.#listing.isBegun) this.#isUntidy = true;
      if (error instanceof ListingBroken && !abort.signal.aborted)
        retry = { reason: error.reason, whom: "all" };
      // an aborted one has been followed by what aborted it
      else if (!abort.signal.aborted) this.#log.error({ err: error }, "the listing failed");
    } finally {
      this.#listing = undefined;
    }
    if (retry) this.#want(retry.reason, retry.whom);
    else this.#pump();
  }

  #begin({ reason, whom }: Wanted, index: number): void {
    if (this.#listing) this.#listing.isBegun = true;
    if (whom === "all") this.#index = index;
    this.nodes.newEpoch();
    this.#audience.begin(reason, index, whom);
  }

  #pageFailed(error: unknown): void {
    this.#observe.listFailed();
    const words = error instanceof Error ? error.message : "unknown";
    this.#complain(`the list cannot be read: ${words}`, {});
  }

  #completed(reason: ResyncReason, whom: Wanted["whom"], durationMs: number): void {
    this.nodes.settle();
    this.#isWhole = true;
    this.#audience.complete();
    this.#lastChangeAtMs = this.#clock.now();
    this.#observe.listed(reason, durationMs);
    this.#log.info(
      { reason, durationMs: Math.round(durationMs), index: this.#index, nodes: this.nodes.size },
      "everything is listed",
    );
    if (whom === "all" && this.#isUntidy) {
      this.#isUntidy = false;
      this.#want("periodic", "all");
    }
    if (this.#audience.isWaiting) this.#want("start", "waiting");
  }

  /** Opens the stream anew, which is how namespaces made since are heard of, and lists everything. */
  #schedulePeriod(): void {
    const jitter = 1 - periodJitter + 2 * periodJitter * this.#random();
    this.#cancelPeriod = this.#timers.after(this.#bounds.relistMs * jitter, () => {
      this.#isPeriodDue = true;
      this.#session.abort(resubscribed);
      this.#schedulePeriod();
    });
  }

  #backoffMs(failures: number): number {
    const { minBackoffMs, maxBackoffMs } = this.#bounds;
    const ceiling = Math.min(maxBackoffMs, minBackoffMs * 2 ** Math.min(failures, 16));
    return ceiling * (0.5 + this.#random() / 2);
  }
}

/** Follows Nomad's servers from its first follower on; whoever creates it closes it. `servers` is not closed with it. */
export const createNomadFeed = (needs: NomadFeedNeeds, options: NomadFeedOptions): NomadFeed =>
  new ServersFeed(needs, options);
