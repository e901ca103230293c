/**
 * The regular expressions of one filter, in Go's syntax (RE2: no text makes it go back). A pattern is still a program
 * whose size is multiplied by its repetitions, so it is weighed before it is compiled and matching is paid by size.
 */
import { RE2JS } from "re2js";
import { goQuote } from "../../lib/go.ts";
import { FilterFault } from "./expression.ts";

/** Instructions of all patterns of one filter together. */
export const maxPatternWeight = 2_000;

const groupWeight = 2;
const repetition = /\{(\d{1,6})(?:,(\d{0,6}))?\}/y;
const characterClass = /\[\^?\]?(?:\\.|[^\]\\])*\]?/suy;
const escaped = /\\(?:Q.*?(?:\\E|$)|[pP]\{[^}]*\}|x\{[^}]*\}|.?)/suy;

/** Adds up what a pattern will weigh; where it reads one differently than RE2 it weighs it heavier. */
class Scale {
  readonly #text: string;
  readonly #open: number[] = [];
  #at = 0;
  #sum = 0;
  /** The weight of what a repetition would repeat. */
  #last = 0;

  constructor(text: string) {
    this.#text = text;
  }

  weigh(): number {
    while (this.#at < this.#text.length && this.#sum <= maxPatternWeight) this.#step();
    return this.#open.reduce((sum, outer) => sum + outer, this.#sum);
  }

  /** What stands here of a kind, taken. */
  #take(kind: RegExp): RegExpExecArray | undefined {
    kind.lastIndex = this.#at;
    const match = kind.exec(this.#text);
    if (match === null) return undefined;
    this.#at = kind.lastIndex;
    return match;
  }

  #atom(weight: number): void {
    this.#last = weight;
    this.#sum += weight;
  }

  #step(): void {
    const repeated = this.#take(repetition);
    if (repeated) this.#repeat(Number(repeated[1]), repeated[2]);
    else if (this.#take(characterClass)) this.#atom(1);
    else this.#plain(this.#take(escaped)?.[0] ?? this.#text[this.#at++] ?? "");
  }

  #plain(piece: string): void {
    if (piece === "(") this.#openGroup();
    else if (piece === ")") this.#closeGroup();
    else if ("*+?|".includes(piece)) this.#sum++;
    else this.#atom(piece.startsWith("\\Q") ? piece.length : 1);
  }

  #repeat(least: number, most: string | undefined): void {
    const times = Math.max(1, most === "" ? least + 1 : least, Number(most ?? 0));
    this.#sum += this.#last * (times - 1);
    this.#last *= times;
  }

  #openGroup(): void {
    this.#open.push(this.#sum);
    this.#sum = 0;
  }

  #closeGroup(): void {
    this.#last = this.#sum + groupWeight;
    this.#sum = this.#last + (this.#open.pop() ?? 0);
  }
}

export const patternWeight = (text: string): number => new Scale(text).weigh();

export interface Pattern {
  /** Instructions: what a character of a text costs. */
  readonly size: number;
  test(text: string): boolean;
}

/** Finds a filter's patterns by their text, each compiled once. Throws FilterFault with Go's words. */
export const createPatterns = (): ((text: string) => Pattern) => {
  const known = new Map<string, Pattern>();
  let weight = 0;
  const compile = (text: string): Pattern => {
    weight += patternWeight(text);
    if (weight > maxPatternWeight) throw new RangeError("the filter's expressions are too large");
    const compiled = RE2JS.compile(text);
    return { size: compiled.programSize(), test: (value) => compiled.test(value) };
  };
  return (text) => {
    const pattern = known.get(text);
    if (pattern !== undefined) return pattern;
    try {
      const compiled = compile(text);
      known.set(text, compiled);
      return compiled;
    } catch (error) {
      const reason = error instanceof Error ? error.message : "unknown reason";
      const words = `failed to compile regular expression ${goQuote(text)}: ${reason}`;
      throw new FilterFault("evaluate", words, { cause: error });
    }
  };
};
