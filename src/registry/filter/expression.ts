/** The tree of a filter expression, and the one error that this folder throws. */

export interface Selector {
  /** At least one part. */
  readonly path: readonly string[];
  /** As it was written: `a.b` or, for a JSON pointer, `a/b`. What a value written as a selector means. */
  readonly text: string;
}

/** The operators; each has a negated twin (`!=`, `not in`, `is not empty`, ...). `contains` is `in` turned around. */
export type Operator = "equal" | "in" | "matches" | "empty" | "nil";

/** The names of `as x`, `as i, v`, `as i, _` and `as _, v`. */
export interface Binding {
  /** A map's key or a list's item. */
  readonly item?: string;
  readonly index?: string;
  readonly value?: string;
}

export type Expression =
  | { readonly kind: "or" | "and"; readonly left: Expression; readonly right: Expression }
  | { readonly kind: "not"; readonly operand: Expression }
  | {
      readonly kind: "match";
      readonly selector: Selector;
      readonly operator: Operator;
      readonly negated: boolean;
      /** Undefined for `is empty` and `is nil`. */
      readonly value: string | undefined;
    }
  | {
      readonly kind: "collection";
      readonly quantifier: "any" | "all";
      readonly selector: Selector;
      readonly binding: Binding;
      readonly inner: Expression;
    };

/** What is wrong with a filter: its text does not parse, or a document cannot be asked what it asks. */
export class FilterFault extends Error {
  override readonly name = "FilterFault";
  readonly stage: "parse" | "evaluate";

  constructor(stage: "parse" | "evaluate", words: string, options?: { readonly cause?: unknown }) {
    super(words, options);
    this.stage = stage;
  }
}
