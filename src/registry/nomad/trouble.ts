/** What is wrong now, in one sentence for readiness; the log gets each sentence once an outage, however often it is tried. */
import type { Log } from "../../ports.ts";

const maxRemembered = 16;

export class Trouble {
  readonly #log: Log;
  readonly #said = new Set<string>();
  #words: string | undefined;

  constructor(log: Log) {
    this.#log = log;
  }

  /** Undefined while all is well. */
  get words(): string | undefined {
    return this.#words;
  }

  tell(words: string, fields: object): void {
    this.#words = words;
    if (this.#said.has(words)) return;
    if (this.#said.size >= maxRemembered) this.#said.clear();
    this.#said.add(words);
    this.#log.warn(fields, words);
  }

  /** All is well, for now. */
  over(): void {
    this.#words = undefined;
  }

  /** All was well for long enough: what comes next is another outage, and told anew. */
  settled(): void {
    this.#said.clear();
  }
}
