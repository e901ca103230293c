/** Rules of a grammar over a scanner. Each is remembered per place: reading is linear. */
import type { Scanner } from "./scanner.ts";

export class Rules {
  readonly #scan: Scanner;
  readonly #memo = new Map<string, { readonly value: unknown; readonly end: number }>();

  constructor(scan: Scanner) {
    this.#scan = scan;
  }

  /** A rule's outcome at this place, from memory if it was tried before. */
  rule<T>(name: string, read: () => T | undefined): T | undefined {
    if (this.#scan.inverted) return this.attempt(read);
    const key = `${name}@${this.#scan.at}`;
    const known = this.#memo.get(key);
    if (known !== undefined) {
      this.#scan.rewind(known.end);
      return known.value as T | undefined; // the name decides the type
    }
    const value = this.attempt(read);
    this.#memo.set(key, { value, end: this.#scan.at });
    return value;
  }

  /** Nothing is consumed by a rule that does not match. */
  attempt<T>(read: () => T | undefined): T | undefined {
    const start = this.#scan.at;
    const value = read();
    if (value === undefined) this.#scan.rewind(start);
    return value;
  }
}
