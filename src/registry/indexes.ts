/**
 * Nomad's index discipline (nomad-http.md §1.8): one index for everything, which rises by one with each change, and per
 * table the last index that touched it. Blocking queries wait here.
 */
import { GatewayError } from "../errors.ts";
import type { Table } from "../ports.ts";

interface Waiter {
  readonly index: number;
  readonly wake: () => void;
}

export interface IndexOptions {
  /** Blocking queries at once, over all tables. */
  readonly maxWaiters: number;
}

export class Indexes {
  #last: number;
  readonly #tables: Record<Table, number>;
  readonly #waiters: Record<Table, Set<Waiter>> = {
    allocs: new Set(),
    nodes: new Set(),
    evals: new Set(),
  };
  readonly #max: number;
  #waiting = 0;
  #released = false;

  /** `start` is the index of everything that is there already. */
  constructor(start: number, { maxWaiters }: IndexOptions = { maxWaiters: 20_000 }) {
    this.#last = start;
    this.#tables = { allocs: start, nodes: start, evals: start };
    this.#max = maxWaiters;
  }

  get last(): number {
    return this.#last;
  }

  /** Blocking queries under way. */
  get waiting(): number {
    return this.#waiting;
  }

  of(table: Table): number {
    return this.#tables[table];
  }

  /** The index of a change to these tables, whose waiters go on in the next turn. */
  touch(...tables: readonly Table[]): number {
    this.#last++;
    for (const table of tables) {
      this.#tables[table] = this.#last;
      for (const waiter of this.#waiters[table]) if (waiter.index < this.#last) waiter.wake();
    }
    return this.#last;
  }

  /** Nobody waits any more: `changed` resolves at once, with or without a change. */
  get released(): boolean {
    return this.#released;
  }

  /** Lets everyone go who waits, and nobody wait any more. */
  release(): void {
    this.#released = true;
    for (const waiters of Object.values(this.#waiters)) for (const { wake } of waiters) wake();
  }

  /** Resolves when the table's index passes `index` or the signal aborts. Rejects beyond the bound of waiters. */
  changed(table: Table, index: number, signal: AbortSignal): Promise<void> {
    if (this.#tables[table] > index || signal.aborted || this.#released) return Promise.resolve();
    if (this.#waiting >= this.#max)
      return Promise.reject(
        new GatewayError("registry_unavailable", { reason: "too many blocking queries wait" }),
      );
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#waiters[table].delete(waiter);
        this.#waiting--;
        signal.removeEventListener("abort", wake);
        resolve();
      };
      const waiter: Waiter = { index, wake };
      this.#waiters[table].add(waiter);
      this.#waiting++;
      signal.addEventListener("abort", wake, { once: true });
    });
  }
}
