/** What filters compare: selectors (dotted names and JSON pointers) and values (numbers, strings, bare words). */
import type { Selector } from "./expression.ts";
import type { Rules } from "./rules.ts";
import type { Scanner } from "./scanner.ts";
import { unquote } from "./unquote.ts";

const letter = (character: string): boolean => /^[a-zA-Z]$/.test(character);
const wordCharacter = (character: string): boolean => /^[a-zA-Z0-9_/]$/.test(character);
const digit = (character: string): boolean => /^[0-9]$/.test(character);
const leadingDigit = (character: string): boolean => /^[1-9]$/.test(character);
const pointerCharacter = (character: string): boolean => /^[\p{L}\p{N}\-_.~:|]$/u.test(character);

const unescapePointer = (part: string): string => part.replaceAll("~1", "/").replaceAll("~0", "~");

export class Terms {
  readonly #scan: Scanner;
  readonly #rules: Rules;

  constructor(scan: Scanner, rules: Rules) {
    this.#scan = scan;
    this.#rules = rules;
  }

  selector(): Selector | undefined {
    return this.#rules.rule("selector", () => this.#dotted() ?? this.#pointer());
  }

  #dotted(): Selector | undefined {
    return this.#rules.attempt(() => {
      const first = this.identifier();
      if (first === undefined) return undefined;
      const path = [first];
      for (let part = this.#part(); part !== undefined; part = this.#part()) path.push(part);
      return { path, text: path.join(".") };
    });
  }

  #part(): string | undefined {
    const scan = this.#scan;
    return (
      this.#rules.attempt(() => (scan.literal(".") ? this.identifier() : undefined)) ??
      this.#index() ??
      this.#rules.attempt(() => (scan.literal(".") ? this.#digits() : undefined))
    );
  }

  #digits(): string | undefined {
    const start = this.#scan.at;
    while (this.#scan.character(digit, "[0-9]"));
    return this.#scan.at > start ? this.#scan.textFrom(start) : undefined;
  }

  identifier(): string | undefined {
    const start = this.#scan.at;
    if (!this.#scan.character(letter, "[a-zA-Z]")) return undefined;
    while (this.#scan.character(wordCharacter, "[a-zA-Z0-9_/]"));
    return this.#scan.textFrom(start);
  }

  #index(): string | undefined {
    const scan = this.#scan;
    const opened = (): boolean => scan.literal("[") && scan.blank();
    const index = this.#rules.attempt(() => {
      const key = opened() ? this.#string() : undefined;
      return key !== undefined && scan.blank() && scan.literal("]") ? key : undefined;
    });
    if (index !== undefined) return index;
    this.#rules.attempt(() => {
      if (opened() && scan.not(() => this.#string())) scan.complain("index", "Invalid index");
      return undefined;
    });
    this.#rules.attempt(() => {
      if (
        opened() &&
        this.#string() !== undefined &&
        scan.blank() &&
        scan.not(() => scan.literal("]"))
      )
        scan.complain("index", "Unclosed index expression");
      return undefined;
    });
    return undefined;
  }

  #pointer(): Selector | undefined {
    const scan = this.#scan;
    return this.#rules.attempt(() => {
      if (!scan.literal('"')) return undefined;
      const segments: string[] = [];
      for (let segment = this.#segment(); segment !== undefined; segment = this.#segment())
        segments.push(segment);
      if (!scan.literal('"')) return undefined;
      const path = segments.length === 0 ? [""] : segments.map(unescapePointer);
      return { path, text: path.join("/") };
    });
  }

  #segment(): string | undefined {
    const scan = this.#scan;
    return this.#rules.attempt(() => {
      if (!scan.literal("/")) return undefined;
      const start = scan.at;
      while (scan.character(pointerCharacter, "[\\pL\\pN-_.~:|]"));
      return scan.at > start ? scan.textFrom(start) : undefined;
    });
  }

  value(): string | undefined {
    return this.#rules.rule(
      "value",
      () => this.selector()?.text ?? this.#number() ?? this.#string(),
    );
  }

  #number(): string | undefined {
    const scan = this.#scan;
    const delimited = (): boolean =>
      scan.ahead(() => scan.space() || scan.end() || scan.literal(")"));
    const number = this.#rules.attempt(() => {
      const start = scan.at;
      return this.#digitsOfNumber() && scan.ahead(delimited) ? scan.textFrom(start) : undefined;
    });
    if (number !== undefined) return number;
    this.#rules.attempt(() => {
      if (this.#digitsOfNumber() && scan.not(delimited))
        scan.complain("number", "Invalid number literal");
      return undefined;
    });
    return undefined;
  }

  #digitsOfNumber(): boolean {
    const scan = this.#scan;
    scan.literal("-");
    if (!scan.literal("0")) {
      if (!scan.character(leadingDigit, "[1-9]")) return false;
      while (scan.character(digit, "[0-9]"));
    }
    this.#rules.attempt(() => (scan.literal(".") ? this.#digits() : undefined));
    return true;
  }

  #string(): string | undefined {
    return (
      this.#rules.attempt(() => this.#quoted("`") ?? this.#quoted('"')) ?? this.#unterminated()
    );
  }

  #body(quote: string): boolean {
    const scan = this.#scan;
    if (!scan.literal(quote)) return false;
    while (scan.not(() => scan.literal(quote)) && scan.any());
    return true;
  }

  #quoted(quote: string): string | undefined {
    const scan = this.#scan;
    return this.#rules.attempt(() => {
      const start = scan.at;
      if (!(this.#body(quote) && scan.literal(quote))) return undefined;
      const text = unquote(scan.textFrom(start));
      if (text === undefined) scan.complain("string", "invalid syntax", start);
      return text ?? "";
    });
  }

  #unterminated(): undefined {
    this.#rules.attempt(() => {
      if ((this.#body("`") || this.#body('"')) && this.#scan.end())
        this.#scan.complain("string", "Unterminated string literal");
      return undefined;
    });
  }
}
