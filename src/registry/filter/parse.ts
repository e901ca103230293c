/**
 * Nomad's filter language (go-bexpr; nomad-http.md §1.9) read into a tree. The rules below are those of its grammar, in
 * its order, so that places and words of errors are Nomad's. Each rule is remembered per place: reading is linear.
 */
import {
  type Binding,
  type Expression,
  FilterFault,
  type Operator,
  type Selector,
} from "./expression.ts";
import { Scanner } from "./scanner.ts";
import { unquote } from "./unquote.ts";

/** Longer filters are refused: bytes. */
const maxFilterBytes = 4096;
/** Parentheses, `not`s and collections inside one another. */
const maxFilterDepth = 64;

const letter = (character: string): boolean => /^[a-zA-Z]$/.test(character);
const wordCharacter = (character: string): boolean => /^[a-zA-Z0-9_/]$/.test(character);
const digit = (character: string): boolean => /^[0-9]$/.test(character);
const leadingDigit = (character: string): boolean => /^[1-9]$/.test(character);
const pointerCharacter = (character: string): boolean => /^[\p{L}\p{N}\-_.~:|]$/u.test(character);

type Match = Expression & { readonly kind: "match" };
type Comparison = Pick<Match, "operator" | "negated">;

const unescapePointer = (part: string): string => part.replaceAll("~1", "/").replaceAll("~0", "~");

class Parser {
  readonly #scan: Scanner;
  readonly #memo = new Map<string, { readonly value: unknown; readonly end: number }>();
  #depth = 0;

  constructor(text: string) {
    this.#scan = new Scanner(text);
  }

  parse(): Expression {
    const expression = this.#input();
    this.#scan.finish(expression !== undefined);
    if (expression === undefined) throw new FilterFault("parse", "no match found");
    return expression;
  }

  /** A rule's outcome at this place, from memory if it was tried before. */
  #rule<T>(name: string, read: () => T | undefined): T | undefined {
    if (this.#scan.inverted) return this.#attempt(read);
    const key = `${name}@${this.#scan.at}`;
    const known = this.#memo.get(key);
    if (known !== undefined) {
      this.#scan.rewind(known.end);
      return known.value as T | undefined; // the name decides the type
    }
    const value = this.#attempt(read);
    this.#memo.set(key, { value, end: this.#scan.at });
    return value;
  }

  /** Nothing is consumed by a rule that does not match. */
  #attempt<T>(read: () => T | undefined): T | undefined {
    const start = this.#scan.at;
    const value = read();
    if (value === undefined) this.#scan.rewind(start);
    return value;
  }

  #nested<T>(read: () => T | undefined): T | undefined {
    if (this.#depth >= maxFilterDepth)
      throw new FilterFault("parse", `more than ${maxFilterDepth} expressions inside one another`);
    this.#depth++;
    const value = this.#attempt(read);
    this.#depth--;
    return value;
  }

  #input(): Expression | undefined {
    const scan = this.#scan;
    const enclosed = this.#nested(() => {
      if (!(scan.blank() && scan.literal("(") && scan.blank())) return undefined;
      const expression = this.#or();
      if (expression === undefined) return undefined;
      return scan.blank() && scan.literal(")") && scan.blank() && scan.end()
        ? expression
        : undefined;
    });
    if (enclosed !== undefined) return enclosed;
    scan.blank();
    const expression = this.#or();
    return expression !== undefined && scan.blank() && scan.end() ? expression : undefined;
  }

  #or(): Expression | undefined {
    return this.#rule(
      "or",
      () =>
        this.#binary(
          "or",
          () => this.#and(),
          () => this.#or(),
        ) ??
        this.#and() ??
        this.#collection(),
    );
  }

  #and(): Expression | undefined {
    return this.#rule(
      "and",
      () =>
        this.#binary(
          "and",
          () => this.#not(),
          () => this.#and(),
        ) ?? this.#not(),
    );
  }

  #binary(
    kind: "or" | "and",
    first: () => Expression | undefined,
    second: () => Expression | undefined,
  ): Expression | undefined {
    const scan = this.#scan;
    return this.#attempt(() => {
      const left = first();
      if (left === undefined || !(scan.space() && scan.literal(kind) && scan.space()))
        return undefined;
      const right = second();
      return right === undefined ? undefined : { kind, left, right };
    });
  }

  #not(): Expression | undefined {
    return this.#rule("not", () => this.#negation() ?? this.#grouping());
  }

  #negation(): Expression | undefined {
    const scan = this.#scan;
    return this.#nested(() => {
      if (!(scan.literal("not") && scan.space())) return undefined;
      const operand = this.#not();
      return operand === undefined ? undefined : { kind: "not", operand };
    });
  }

  #grouping(): Expression | undefined {
    return this.#rule("grouping", () => this.#enclosed() ?? this.#match() ?? this.#unclosed());
  }

  #opened(): Expression | undefined {
    return this.#scan.literal("(") && this.#scan.blank() ? this.#or() : undefined;
  }

  #enclosed(): Expression | undefined {
    return this.#nested(() => {
      const inner = this.#opened();
      return inner !== undefined && this.#scan.blank() && this.#scan.literal(")")
        ? inner
        : undefined;
    });
  }

  #unclosed(): undefined {
    const scan = this.#scan;
    this.#nested(() => {
      if (this.#opened() !== undefined && scan.blank() && scan.not(() => scan.literal(")")))
        scan.complain("grouping", "Unmatched parentheses");
      return undefined;
    });
  }

  #collection(): Expression | undefined {
    return this.#rule("collection", () => {
      const scan = this.#scan;
      const quantifier = this.#quantifier();
      if (quantifier === undefined) return undefined;
      const selector = this.#selector();
      if (selector === undefined || !(scan.space() && scan.literal("as") && scan.space()))
        return undefined;
      const binding = this.#binding();
      if (binding === undefined || !(scan.blank() && scan.literal("{") && scan.blank()))
        return undefined;
      const inner = this.#nested(() => this.#or());
      if (inner === undefined || !(scan.blank() && scan.literal("}"))) return undefined;
      return { kind: "collection", quantifier, selector, binding, inner };
    });
  }

  #quantifier(): "any" | "all" | undefined {
    const scan = this.#scan;
    const word = (text: "any" | "all") =>
      this.#attempt(() => (scan.literal(text) && scan.space() ? text : undefined));
    return word("any") ?? word("all");
  }

  #binding(): Binding | undefined {
    const scan = this.#scan;
    const comma = (): boolean => scan.blank() && scan.literal(",") && scan.blank();
    return (
      this.#attempt(() => {
        const index = this.#identifier();
        if (index === undefined || !comma()) return undefined;
        const value = this.#identifier();
        return value === undefined ? undefined : { index, value };
      }) ??
      this.#attempt(() => {
        const index = this.#identifier();
        return index !== undefined && comma() && scan.literal("_") ? { index } : undefined;
      }) ??
      this.#attempt(() => {
        if (!(scan.literal("_") && comma())) return undefined;
        const value = this.#identifier();
        return value === undefined ? undefined : { value };
      }) ??
      this.#attempt(() => {
        const item = this.#identifier();
        return item === undefined ? undefined : { item };
      })
    );
  }

  #match(): Expression | undefined {
    return this.#rule(
      "match",
      () =>
        this.#selectorFirst() ??
        this.#selectorAlone() ??
        this.#valueFirst() ??
        this.#valueWithoutSelector(),
    );
  }

  /** The first of the operators that stands here. */
  #operator(...choices: readonly (readonly [Comparison, () => boolean])[]): Comparison | undefined {
    for (const [comparison, stands] of choices) {
      const found = this.#attempt(() => (stands() ? comparison : undefined));
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Words with blanks before, between and, if `after`, behind them. */
  #words(after: boolean, ...words: readonly string[]): boolean {
    const scan = this.#scan;
    return words.every((word) => scan.space() && scan.literal(word)) && (!after || scan.space());
  }

  #sign(sign: string): boolean {
    return this.#scan.blank() && this.#scan.literal(sign) && this.#scan.blank();
  }

  #selectorFirst(): Expression | undefined {
    return this.#attempt(() => {
      const selector = this.#selector();
      if (selector === undefined) return undefined;
      const comparison = this.#operator(
        [plain("equal"), () => this.#sign("==")],
        [negated("equal"), () => this.#sign("!=")],
        [plain("in"), () => this.#words(true, "contains")],
        [negated("in"), () => this.#words(true, "not", "contains")],
        [plain("matches"), () => this.#words(true, "matches")],
        [negated("matches"), () => this.#words(true, "not", "matches")],
      );
      if (comparison === undefined) return undefined;
      const value = this.#value();
      return value === undefined ? undefined : { kind: "match", selector, ...comparison, value };
    });
  }

  #selectorAlone(): Expression | undefined {
    return this.#attempt(() => {
      const selector = this.#selector();
      if (selector === undefined) return undefined;
      const comparison = this.#operator(
        [plain("empty"), () => this.#words(false, "is", "empty")],
        [negated("empty"), () => this.#words(false, "is", "not", "empty")],
        [plain("nil"), () => this.#words(false, "is", "nil")],
        [negated("nil"), () => this.#words(false, "is", "not", "nil")],
      );
      return comparison === undefined
        ? undefined
        : { kind: "match", selector, ...comparison, value: undefined };
    });
  }

  #membership(): (Comparison & { readonly value: string }) | undefined {
    const value = this.#value();
    if (value === undefined) return undefined;
    const comparison = this.#operator(
      [plain("in"), () => this.#words(true, "in")],
      [negated("in"), () => this.#words(true, "not", "in")],
    );
    return comparison === undefined ? undefined : { ...comparison, value };
  }

  #valueFirst(): Expression | undefined {
    return this.#attempt(() => {
      const membership = this.#membership();
      if (membership === undefined) return undefined;
      const selector = this.#selector();
      return selector === undefined ? undefined : { kind: "match", selector, ...membership };
    });
  }

  #valueWithoutSelector(): undefined {
    if (this.#membership() !== undefined && this.#scan.not(() => this.#selector()))
      this.#scan.complain("match", "Invalid selector");
  }

  #selector(): Selector | undefined {
    return this.#rule("selector", () => this.#dotted() ?? this.#pointer());
  }

  #dotted(): Selector | undefined {
    return this.#attempt(() => {
      const first = this.#identifier();
      if (first === undefined) return undefined;
      const path = [first];
      for (let part = this.#part(); part !== undefined; part = this.#part()) path.push(part);
      return { path, text: path.join(".") };
    });
  }

  #part(): string | undefined {
    const scan = this.#scan;
    return (
      this.#attempt(() => (scan.literal(".") ? this.#identifier() : undefined)) ??
      this.#index() ??
      this.#attempt(() => (scan.literal(".") ? this.#digits() : undefined))
    );
  }

  #digits(): string | undefined {
    const start = this.#scan.at;
    while (this.#scan.character(digit, "[0-9]"));
    return this.#scan.at > start ? this.#scan.textFrom(start) : undefined;
  }

  #identifier(): string | undefined {
    const start = this.#scan.at;
    if (!this.#scan.character(letter, "[a-zA-Z]")) return undefined;
    while (this.#scan.character(wordCharacter, "[a-zA-Z0-9_/]"));
    return this.#scan.textFrom(start);
  }

  #index(): string | undefined {
    const scan = this.#scan;
    const opened = (): boolean => scan.literal("[") && scan.blank();
    const index = this.#attempt(() => {
      const key = opened() ? this.#string() : undefined;
      return key !== undefined && scan.blank() && scan.literal("]") ? key : undefined;
    });
    if (index !== undefined) return index;
    this.#attempt(() => {
      if (opened() && scan.not(() => this.#string())) scan.complain("index", "Invalid index");
      return undefined;
    });
    this.#attempt(() => {
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
    return this.#attempt(() => {
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
    return this.#attempt(() => {
      if (!scan.literal("/")) return undefined;
      const start = scan.at;
      while (scan.character(pointerCharacter, "[\\pL\\pN-_.~:|]"));
      return scan.at > start ? scan.textFrom(start) : undefined;
    });
  }

  #value(): string | undefined {
    return this.#rule("value", () => this.#selector()?.text ?? this.#number() ?? this.#string());
  }

  #number(): string | undefined {
    const scan = this.#scan;
    const delimited = (): boolean =>
      scan.ahead(() => scan.space() || scan.end() || scan.literal(")"));
    const number = this.#attempt(() => {
      const start = scan.at;
      return this.#digitsOfNumber() && scan.ahead(delimited) ? scan.textFrom(start) : undefined;
    });
    if (number !== undefined) return number;
    this.#attempt(() => {
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
    this.#attempt(() => (scan.literal(".") ? this.#digits() : undefined));
    return true;
  }

  #string(): string | undefined {
    return this.#attempt(() => this.#quoted("`") ?? this.#quoted('"')) ?? this.#unterminated();
  }

  #body(quote: string): boolean {
    const scan = this.#scan;
    if (!scan.literal(quote)) return false;
    while (scan.not(() => scan.literal(quote)) && scan.any());
    return true;
  }

  #quoted(quote: string): string | undefined {
    const scan = this.#scan;
    return this.#attempt(() => {
      const start = scan.at;
      if (!(this.#body(quote) && scan.literal(quote))) return undefined;
      const text = unquote(scan.textFrom(start));
      if (text === undefined) scan.complain("string", "invalid syntax", start);
      return text ?? "";
    });
  }

  #unterminated(): undefined {
    this.#attempt(() => {
      if ((this.#body("`") || this.#body('"')) && this.#scan.end())
        this.#scan.complain("string", "Unterminated string literal");
      return undefined;
    });
  }
}

const plain = (operator: Operator): Comparison => ({ operator, negated: false });
const negated = (operator: Operator): Comparison => ({ operator, negated: true });

/** Throws FilterFault with Nomad's words: place, and what was expected there. */
export const parseFilter = (text: string): Expression => {
  if (Buffer.byteLength(text) > maxFilterBytes)
    throw new FilterFault("parse", `the expression is longer than ${maxFilterBytes} bytes`);
  return new Parser(text).parse();
};
