/**
 * Nomad's filter language (go-bexpr; nomad-http.md §1.9) read into a tree. The rules below are those of its grammar, in
 * its order, so that places and words of errors are Nomad's; those of selectors and values are in terms.ts.
 */
import { type Binding, type Expression, FilterFault, type Operator } from "./expression.ts";
import { Rules } from "./rules.ts";
import { Scanner } from "./scanner.ts";
import { Terms } from "./terms.ts";

/** Longer filters are refused: bytes. */
const maxFilterBytes = 4096;
/** Parentheses, `not`s and collections inside one another. */
const maxFilterDepth = 64;

type Match = Expression & { readonly kind: "match" };
type Comparison = Pick<Match, "operator" | "negated">;

class Parser {
  readonly #scan: Scanner;
  readonly #rules: Rules;
  readonly #terms: Terms;
  #depth = 0;

  constructor(text: string) {
    this.#scan = new Scanner(text);
    this.#rules = new Rules(this.#scan);
    this.#terms = new Terms(this.#scan, this.#rules);
  }

  parse(): Expression {
    const expression = this.#input();
    this.#scan.finish(expression !== undefined);
    if (expression === undefined) throw new FilterFault("parse", "no match found");
    return expression;
  }

  #nested<T>(read: () => T | undefined): T | undefined {
    if (this.#depth >= maxFilterDepth)
      throw new FilterFault("parse", `more than ${maxFilterDepth} expressions inside one another`);
    this.#depth++;
    const value = this.#rules.attempt(read);
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
    return this.#rules.rule(
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
    return this.#rules.rule(
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
    return this.#rules.attempt(() => {
      const left = first();
      if (left === undefined || !(scan.space() && scan.literal(kind) && scan.space()))
        return undefined;
      const right = second();
      return right === undefined ? undefined : { kind, left, right };
    });
  }

  #not(): Expression | undefined {
    return this.#rules.rule("not", () => this.#negation() ?? this.#grouping());
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
    return this.#rules.rule(
      "grouping",
      () => this.#enclosed() ?? this.#match() ?? this.#unclosed(),
    );
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
    return this.#rules.rule("collection", () => {
      const scan = this.#scan;
      const quantifier = this.#quantifier();
      if (quantifier === undefined) return undefined;
      const selector = this.#terms.selector();
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
      this.#rules.attempt(() => (scan.literal(text) && scan.space() ? text : undefined));
    return word("any") ?? word("all");
  }

  #binding(): Binding | undefined {
    const scan = this.#scan;
    const comma = (): boolean => scan.blank() && scan.literal(",") && scan.blank();
    return (
      this.#rules.attempt(() => {
        const index = this.#terms.identifier();
        if (index === undefined || !comma()) return undefined;
        const value = this.#terms.identifier();
        return value === undefined ? undefined : { index, value };
      }) ??
      this.#rules.attempt(() => {
        const index = this.#terms.identifier();
        return index !== undefined && comma() && scan.literal("_") ? { index } : undefined;
      }) ??
      this.#rules.attempt(() => {
        if (!(scan.literal("_") && comma())) return undefined;
        const value = this.#terms.identifier();
        return value === undefined ? undefined : { value };
      }) ??
      this.#rules.attempt(() => {
        const item = this.#terms.identifier();
        return item === undefined ? undefined : { item };
      })
    );
  }

  #match(): Expression | undefined {
    return this.#rules.rule(
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
      const found = this.#rules.attempt(() => (stands() ? comparison : undefined));
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
    return this.#rules.attempt(() => {
      const selector = this.#terms.selector();
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
      const value = this.#terms.value();
      return value === undefined ? undefined : { kind: "match", selector, ...comparison, value };
    });
  }

  #selectorAlone(): Expression | undefined {
    return this.#rules.attempt(() => {
      const selector = this.#terms.selector();
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
    const value = this.#terms.value();
    if (value === undefined) return undefined;
    const comparison = this.#operator(
      [plain("in"), () => this.#words(true, "in")],
      [negated("in"), () => this.#words(true, "not", "in")],
    );
    return comparison === undefined ? undefined : { ...comparison, value };
  }

  #valueFirst(): Expression | undefined {
    return this.#rules.attempt(() => {
      const membership = this.#membership();
      if (membership === undefined) return undefined;
      const selector = this.#terms.selector();
      return selector === undefined ? undefined : { kind: "match", selector, ...membership };
    });
  }

  #valueWithoutSelector(): undefined {
    if (this.#membership() !== undefined && this.#scan.not(() => this.#terms.selector()))
      this.#scan.complain("match", "Invalid selector");
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
