/**
 * The primitives of a parsing expression grammar over one text. It remembers what would have been accepted at the
 * farthest place that was reached, because that is what Nomad's error names; `not` turns the record around.
 */
import { goQuote } from "../../lib/go.ts";
import { FilterFault } from "./expression.ts";

const blanks = " \t\r\n";
const blankLabel = "[ \\t\\r\\n]";
const endLabel = "!.";
const maxErrors = 8;

export class Scanner {
  /** Code points, so that columns count characters as Go does. */
  readonly #characters: readonly string[];
  #at = 0;
  #farthest = 0;
  #expected = new Set<string>();
  #inverted = false;
  readonly #errors = new Set<string>();

  constructor(text: string) {
    this.#characters = [...text];
  }

  get at(): number {
    return this.#at;
  }

  get inverted(): boolean {
    return this.#inverted;
  }

  /** Goes back (or forward) to a place that was visited before. */
  rewind(at: number): void {
    this.#at = at;
  }

  textFrom(start: number): string {
    return this.#characters.slice(start, this.#at).join("");
  }

  #record(matched: boolean, at: number, label: string): void {
    if (matched !== this.#inverted || at < this.#farthest) return;
    if (at > this.#farthest) {
      this.#farthest = at;
      this.#expected = new Set();
    }
    this.#expected.add(this.#inverted ? `!${label}` : label);
  }

  literal(text: string): boolean {
    const start = this.#at;
    const matched = [...text].every((character, i) => this.#characters[start + i] === character);
    this.#record(matched, start, goQuote(text));
    if (matched) this.#at = start + text.length;
    return matched;
  }

  /** One character that `accepts`; `label` is the class as the grammar writes it. */
  character(accepts: (character: string) => boolean, label: string): boolean {
    const character = this.#characters[this.#at];
    const matched = character !== undefined && accepts(character);
    this.#record(matched, this.#at, label);
    if (matched) this.#at++;
    return matched;
  }

  any(): boolean {
    return this.character(() => true, ".");
  }

  /** At least one blank. */
  space(): boolean {
    const start = this.#at;
    while (this.character((character) => blanks.includes(character), blankLabel));
    return this.#at > start;
  }

  /** Blanks or none: always true, so that it reads well in a row of conditions. */
  blank(): true {
    this.space();
    return true;
  }

  /** True when `rule` does not match here; nothing is consumed. */
  not(rule: () => unknown): boolean {
    const start = this.#at;
    this.#inverted = !this.#inverted;
    const matched = Boolean(rule());
    this.#inverted = !this.#inverted;
    this.#at = start;
    return !matched;
  }

  /** True when `rule` matches here; nothing is consumed. */
  ahead(rule: () => unknown): boolean {
    const start = this.#at;
    const matched = Boolean(rule());
    this.#at = start;
    return matched;
  }

  end(): boolean {
    return this.not(() => this.any());
  }

  #place(at: number): string {
    const before = this.#characters.slice(0, at);
    const lastBreak = this.#characters.slice(0, at + 1).lastIndexOf("\n");
    const line = 1 + this.#characters.slice(0, at + 1).filter((one) => one === "\n").length;
    return `${line}:${at - lastBreak} (${Buffer.byteLength(before.join(""))})`;
  }

  /** An error of the grammar's own, which fails the whole text even if another way to read it is found. */
  complain(rule: string, words: string, at = this.#at): void {
    if (this.#errors.size < maxErrors)
      this.#errors.add(`${this.#place(at)}: rule ${goQuote(rule)}: ${words}`);
  }

  /** Throws what was complained about, or for a text that was not read what was expected. */
  finish(read: boolean): void {
    if (this.#errors.size > 0) throw new FilterFault("parse", [...this.#errors].join("\n"));
    if (read) return;
    const labels = [...this.#expected].filter((label) => label !== endLabel).sort();
    if (this.#expected.has(endLabel)) labels.push("EOF");
    const last = labels.pop() ?? "";
    const listed = labels.length === 0 ? last : `${labels.join(", ")} or ${last}`;
    throw new FilterFault(
      "parse",
      `${this.#place(this.#farthest)}: no match found, expected: ${listed}`,
    );
  }
}
