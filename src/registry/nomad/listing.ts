/**
 * One whole picture, read from the servers' lists page by page. What the stream tells while a page is on its way is told to
 * the sinks at once and again after that page, whose snapshot may be older; a page asked for later holds it already.
 */
import { setImmediate as turn } from "node:timers/promises";
import type { Clock } from "../../ports.ts";
import { pause, type Timers } from "../timers.ts";
import { AnswerTooLarge, type AskServers, type ServerAnswer, unavailable, wordsOf } from "./ask.ts";
import { readAllocation, readList, readNode, type Told } from "./documents.ts";
import type { JsonCursor } from "./json-cursor.ts";
import type { NomadFeedBounds } from "./options.ts";

export interface ListingNeeds {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly ask: AskServers;
  readonly backoffMs: (failures: number) => number;
  /** The first page is there: the picture begins at its index. */
  readonly begin: (index: number) => void;
  /** Part of the picture, in order. */
  readonly tell: (told: readonly Told[]) => void;
  /** A page could not be had and will be asked for again. */
  readonly failed: (error: unknown) => void;
}

type ListingBounds = Pick<
  NomadFeedBounds,
  "perPage" | "maxPageBytes" | "maxPages" | "maxPending" | "answerTimeoutMs"
>;

/** Why a listing gives up and has to be begun anew. */
export class ListingBroken extends Error {
  readonly reason: "gap" | "backwards";

  constructor(reason: "gap" | "backwards", words: string) {
    super(words);
    this.name = "ListingBroken";
    this.reason = reason;
  }
}

const sliceItems = 500;
const budgetMs = 8;

const readAllocationTold = (cursor: JsonCursor): Told | undefined => {
  const placement = readAllocation(cursor);
  return placement && { kind: "allocation", placement };
};

const readNodeTold = (cursor: JsonCursor): Told | undefined => {
  const facts = readNode(cursor);
  return facts && { kind: "node", facts };
};

interface List {
  readonly path: string;
  readonly read: (cursor: JsonCursor) => Told | undefined;
  /** Its first page's index is the picture's. */
  readonly isFirst: boolean;
}

const allocations: List = {
  path: "/v1/allocations?namespace=*&task_states=false&",
  read: readAllocationTold,
  isFirst: true,
};
const nodes: List = { path: "/v1/nodes?", read: readNodeTold, isFirst: false };

const idOf = (told: Told): string => {
  if (told.kind === "allocation") return told.placement.id;
  return told.kind === "node" ? told.facts.id : told.id;
};

const maxTokenLength = 256;
/** Pages that fit, before the next one has more items again: a page that is too large costs as much as it may have bytes. */
const fittingBeforeMore = 4;

export class Listing {
  readonly #needs: ListingNeeds;
  readonly #bounds: ListingBounds;
  readonly #signal: AbortSignal;
  /** What the stream told while the page was on its way: the newest of each. */
  readonly #pending = new Map<string, { readonly index: number; readonly told: Told }>();
  #index: number | undefined;
  #perPage: number;
  /** Pages that have fitted since one was too large. */
  #fitting = 0;
  #pages = 0;
  #overflowed = false;

  constructor(needs: ListingNeeds, bounds: ListingBounds, signal: AbortSignal) {
    this.#needs = needs;
    this.#bounds = bounds;
    this.#perPage = bounds.perPage;
    this.#signal = signal;
  }

  /** What the stream tells meanwhile. */
  meanwhile(index: number, told: readonly Told[]): void {
    if (this.#index !== undefined && index <= this.#index) return;
    for (const one of told) this.#pending.set(idOf(one), { index, told: one });
    if (this.#pending.size > this.#bounds.maxPending) {
      this.#overflowed = true;
      this.#pending.clear();
    }
  }

  /** Resolves when the picture is whole. Throws `ListingBroken`, or the signal's reason; else it asks on. */
  async run(): Promise<void> {
    await this.#list(allocations);
    await this.#list(nodes);
  }

  async #list(list: List): Promise<void> {
    let token: string | undefined;
    do {
      if (++this.#pages > this.#bounds.maxPages)
        throw new ListingBroken("gap", "the list has no end");
      const next = await this.#page(list, token);
      if (next !== undefined && (next === token || next.length > maxTokenLength))
        throw new ListingBroken("gap", "the list does not go on");
      token = next;
    } while (token !== undefined);
  }

  /**
   * Asks until the page is there, with fewer items while it is too large and with more again behind it; its items told, and
   * what came meanwhile after them. Answers the next page's token.
   */
  async #page(list: List, token: string | undefined): Promise<string | undefined> {
    const next = token === undefined ? "" : `&next_token=${encodeURIComponent(token)}`;
    for (let failures = 0; ; failures++) {
      this.#pending.clear();
      try {
        const answer = await this.#ask(`${list.path}per_page=${this.#perPage}${next}`);
        this.#checkIndex(list, answer.index);
        await this.#tellItems(answer.body, list.read);
        this.#tellPending(answer.index);
        if (++this.#fitting % fittingBeforeMore === 0)
          this.#perPage = Math.min(this.#perPage * 2, this.#bounds.perPage);
        return answer.nextToken;
      } catch (error) {
        this.#signal.throwIfAborted();
        if (error instanceof ListingBroken) throw error;
        if (error instanceof AnswerTooLarge) {
          this.#perPage = Math.ceil(this.#perPage / 2);
          this.#fitting = 0;
        }
        this.#needs.failed(error);
        await pause(this.#needs.timers, this.#needs.backoffMs(failures), this.#signal);
        this.#signal.throwIfAborted();
      }
    }
  }

  async #ask(path: string): Promise<ServerAnswer> {
    const { maxPageBytes, answerTimeoutMs } = this.#bounds;
    const answer = await this.#needs.ask(
      path,
      { maxBytes: maxPageBytes, timeoutMs: answerTimeoutMs },
      this.#signal,
    );
    if (answer.status !== 200)
      throw unavailable(`the servers refuse the list: ${answer.status} ${wordsOf(answer.body)}`);
    return answer;
  }

  /** The nodes' table has an index of its own; that of the allocations must not fall from page to page. */
  #checkIndex({ isFirst }: List, index: number): void {
    if (this.#index === undefined) {
      this.#index = index;
      this.#needs.begin(index);
    } else if (isFirst && index < this.#index)
      throw new ListingBroken("backwards", "the index ran backwards while the list was read");
  }

  async #tellItems(body: Buffer, read: (cursor: JsonCursor) => Told | undefined): Promise<void> {
    const { clock, tell } = this.#needs;
    let slice: Told[] = [];
    let until = clock.monotonic() + budgetMs;
    for (const told of readList(body, read)) {
      slice.push(told);
      if (slice.length < sliceItems) continue;
      tell(slice);
      slice = [];
      if (clock.monotonic() < until) continue;
      await turn();
      this.#signal.throwIfAborted();
      until = clock.monotonic() + budgetMs;
    }
    if (slice.length > 0) tell(slice);
  }

  /** The page's snapshot holds what came up to its index. */
  #tellPending(pageIndex: number): void {
    if (this.#overflowed)
      throw new ListingBroken("gap", "more changed meanwhile than can be remembered");
    const later = [...this.#pending.values()].filter(({ index }) => index > pageIndex);
    if (later.length > 0) this.#needs.tell(later.map(({ told }) => told));
    this.#pending.clear();
  }
}
