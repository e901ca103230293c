/** Pages of a list (nomad-http.md §1.9): filter first, then the token, then the count. */
import { setImmediate } from "node:timers/promises";
import { invalidRequest } from "../../errors.ts";
import { parseGoUint } from "../../lib/go.ts";
import type { CommonParameters } from "../../parameters.ts";
import { FilterFault } from "../filter/expression.ts";
import { compileFilter, type Filter } from "../filter/filter.ts";
import type { Struct } from "../filter/types.ts";

/** How a list is ordered: the token of an item, and where an item stands to a token. */
export interface Order<T> {
  readonly token: (item: T) => string;
  /** Below 0: the item comes before the token. */
  readonly compare: (item: T, token: string) => number;
  /** What a filter asks; the item itself unless said. */
  readonly document?: (item: T) => unknown;
}

export const compareText = (one: string, other: string): number =>
  one < other ? -1 : one > other ? 1 : 0;

interface Indexed {
  readonly ID: string;
  readonly CreateIndex: number;
}

export const byId: Order<{ readonly ID: string }> = {
  token: ({ ID }) => ID,
  compare: ({ ID }, token) => compareText(ID, token),
};

const indexToken = ({ ID, CreateIndex }: Indexed): string => `${CreateIndex}.${ID}`;

/** `<CreateIndex>.<ID>`: numbers first; a token that is no number is compared as text. */
export const byCreateIndex: Order<Indexed> = {
  token: indexToken,
  compare: (item, token) => {
    const dot = token.indexOf(".");
    const index = parseGoUint(dot < 0 ? token : token.slice(0, dot));
    if (!index.ok) return compareText(indexToken(item), token);
    const difference = BigInt(item.CreateIndex) - index.value;
    if (difference !== 0n) return difference < 0n ? -1 : 1;
    return compareText(item.ID, dot < 0 ? "" : token.slice(dot + 1));
  },
};

export interface Page<T> {
  readonly items: readonly T[];
  /** The first item of the next page. */
  readonly nextToken: string | undefined;
}

const parsedFilter = (text: string, type: Struct): Filter | undefined => {
  if (text === "") return undefined;
  try {
    return compileFilter(text, type);
  } catch (error) {
    if (error instanceof FilterFault)
      throw invalidRequest(
        `failed to create result paginator: failed to read filter expression: ${error.message}`,
      );
    throw error;
  }
};

const passes = (filter: Filter, item: unknown): boolean => {
  try {
    return filter(item);
  } catch (error) {
    if (error instanceof FilterFault)
      throw invalidRequest(`failed to read result page: ${error.message}`);
    throw error;
  }
};

/** Other requests are served between so many filtered items. */
const filteredPerTurn = 16;

/** The items that pass, one by one, without holding up the loop for a long list. */
async function* passing<T>(
  items: readonly T[],
  document: (item: T) => unknown,
  filter: Filter | undefined,
  signal: AbortSignal,
): AsyncGenerator<T> {
  for (const [i, item] of items.entries()) {
    if (filter === undefined) {
      yield item;
      continue;
    }
    if (i % filteredPerTurn === filteredPerTurn - 1) {
      await setImmediate();
      signal.throwIfAborted();
    }
    if (passes(filter, document(item))) yield item;
  }
}

/**
 * One page of `items`, which are in their order already. With `reverse` a token is passed from above, whether the list
 * itself is turned around (allocations) or not (nodes, as in Nomad).
 */
export const page = async <T>(
  items: readonly T[],
  order: Order<T>,
  type: Struct,
  common: CommonParameters,
  signal: AbortSignal,
): Promise<Page<T>> => {
  const filter = parsedFilter(common.filter, type);
  const reached = (item: T): boolean => {
    const place = order.compare(item, common.nextToken);
    return common.reverse ? place <= 0 : place >= 0;
  };
  const taken: T[] = [];
  let started = common.nextToken === "";
  const document = order.document ?? ((item: T) => item);
  for await (const item of passing(items, document, filter, signal)) {
    started ||= reached(item);
    if (!started) continue;
    if (common.perPage !== 0 && taken.length >= common.perPage)
      return { items: taken, nextToken: order.token(item) };
    taken.push(item);
  }
  return { items: taken, nextToken: undefined };
};
