/**
 * Asks a document what a filter's tree asks, with go-bexpr's words for what cannot be asked. Every step is paid from a
 * budget: collections inside collections would otherwise cost the product of their sizes.
 */
import { goQuote } from "../../lib/go.ts";
import { coerceBool, coerceFloat, coerceInt, coerceUint } from "./coerce.ts";
import { type Expression, FilterFault, type Selector } from "./expression.ts";
import { createPatterns, type Pattern } from "./patterns.ts";
import {
  indirect,
  isNothing,
  itemsOf,
  keysOf,
  kindOf,
  pointerText,
  resolvePath,
  type Value,
} from "./resolve.ts";
import { int, string } from "./types.ts";

/** Steps left; one budget serves a whole list. */
export interface Budget {
  left: number;
}

type Match = Expression & { readonly kind: "match" };
type Collection = Expression & { readonly kind: "collection" };

/** A name of an `as`: either a value (key, index) or another name for a path. */
type Local =
  | { readonly name: string; readonly value: Value; readonly path?: undefined }
  | { readonly name: string; readonly path: readonly string[] };

interface Scope {
  readonly root: Value;
  readonly locals: readonly Local[];
  readonly budget: Budget;
  readonly patternOf: (text: string) => Pattern;
}

const refuse = (words: string): FilterFault => new FilterFault("evaluate", words);

const spend = (budget: Budget, steps: number): void => {
  budget.left -= steps;
  if (budget.left < 0) throw refuse("the filter takes too many steps; make it narrower");
};

const find = (selector: Selector, scope: Scope): Value | undefined => {
  let path = selector.path;
  for (const local of scope.locals.toReversed()) {
    const [name = ""] = path;
    if (name !== local.name) continue;
    if (local.path !== undefined) {
      path = [...local.path, ...path.slice(1)];
      continue;
    }
    if (path.length === 1) return local.value;
    throw refuse(
      `${pointerText([name])} references a ${kindOf(local.value)} so ${pointerText(path)} is invalid`,
    );
  }
  spend(scope.budget, path.length);
  return resolvePath(path, scope.root);
};

const valueFault = (text: string): FilterFault =>
  refuse(`error getting match value in expression: ${text}`);

const textOf = ({ type, value }: Value): string =>
  type.kind !== "blank" && typeof value === "string" ? value : "";

const wholeOf = (value: unknown): bigint | undefined => {
  if (typeof value === "bigint") return value;
  if (value === undefined || value === null) return 0n;
  return typeof value === "number" && Number.isInteger(value) ? BigInt(value) : undefined;
};

/** Whether a scalar equals the filter's value; undefined for what is no scalar. */
const equals = (found: Value, wanted: string): boolean | undefined => {
  switch (found.type.kind) {
    case "string":
    case "blank":
      return textOf(found) === wanted;
    case "bool": {
      const parsed = coerceBool(wanted);
      if (!parsed.ok) throw valueFault(parsed.text);
      return (found.value === true) === parsed.value;
    }
    case "int":
    case "uint": {
      const parsed = found.type.kind === "int" ? coerceInt(wanted) : coerceUint(wanted);
      if (!parsed.ok) throw valueFault(parsed.text);
      return wholeOf(found.value) === parsed.value;
    }
    case "float": {
      const parsed = coerceFloat(wanted);
      if (!parsed.ok) throw valueFault(parsed.text);
      return Number(found.value ?? 0) === parsed.value;
    }
    case "opaque":
    case "pointer":
    case "map":
    case "list":
    case "struct":
    case "any":
      return undefined;
  }
};

const isEqual = (found: Value, wanted: string): boolean => {
  const equal = equals(found, wanted);
  if (equal === undefined)
    throw refuse("unable to find suitable primitive comparison function for matching");
  return equal;
};

/** Items of a list without a type are compared one by one; those that the value cannot be read as are passed over. */
const isUntypedItem = (item: Value, wanted: string): boolean => {
  try {
    return equals(item, wanted) ?? false;
  } catch (error) {
    if (error instanceof FilterFault && error.message.endsWith("invalid syntax")) return false;
    throw error;
  }
};

const isInList = (found: Value, wanted: string, budget: Budget): boolean => {
  if (found.type.kind !== "list") return false;
  const { of } = found.type;
  const items = itemsOf(found.value);
  spend(budget, items.length);
  if (of.kind === "any")
    return items.some((value) => isUntypedItem(indirect({ type: of, value }), wanted));
  const zero = of.kind === "pointer" ? of.to : of;
  if (equals({ type: zero, value: undefined }, wanted) === undefined)
    throw refuse('unable to find suitable primitive comparison function for "in" comparison');
  return items.some((value) => equals(indirect({ type: of, value }), wanted) === true);
};

const isText = ({ type }: Value): boolean => type.kind === "string" || type.kind === "blank";

const unfit = (operation: string, found: Value, selector: Selector): FilterFault =>
  refuse(
    `cannot perform ${operation} operations on type ${kindOf(found)} for selector: ${goQuote(selector.text)}`,
  );

const isIn = (found: Value, wanted: string, selector: Selector, budget: Budget): boolean => {
  if (found.type.kind === "map") return keysOf(found.value).includes(wanted);
  if (found.type.kind === "list") return isInList(found, wanted, budget);
  if (isText(found)) return textOf(found).includes(wanted);
  equals(found, wanted); // a value that does not fit the field is the first thing to be said
  throw unfit("in/contains", found, selector);
};

const isEmpty = (found: Value, selector: Selector): boolean => {
  if (found.type.kind === "map") return keysOf(found.value).length === 0;
  if (found.type.kind === "list") return itemsOf(found.value).length === 0;
  if (isText(found)) return textOf(found) === "";
  throw unfit("is-empty", found, selector);
};

const isNil = (found: Value, selector: Selector): boolean => {
  if (isNothing(found)) return true;
  if (found.type.kind === "map" || found.type.kind === "list")
    return found.value === null || found.value === undefined;
  if (found.type.kind === "struct" || found.type.kind === "opaque") return false;
  throw unfit("is-nil", found, selector);
};

/** Instructions times characters that cost as much as any other step. */
const matchedPerStep = 16;

const matches = (found: Value, wanted: string, scope: Scope): boolean => {
  if (!isText(found)) throw refuse(`value of type ${kindOf(found)} is not convertible to []byte`);
  const text = textOf(found);
  const pattern = scope.patternOf(wanted);
  spend(scope.budget, Math.ceil((pattern.size * (text.length + 1)) / matchedPerStep));
  return pattern.test(text);
};

const holds = (match: Match, found: Value, scope: Scope): boolean => {
  const wanted = match.value ?? "";
  switch (match.operator) {
    case "equal":
      return isEqual(found, wanted);
    case "in":
      return isIn(found, wanted, match.selector, scope.budget);
    case "matches":
      return matches(found, wanted, scope);
    case "empty":
      return isEmpty(found, match.selector);
    case "nil":
      return isNil(found, match.selector);
  }
};

const evaluateMatch = (match: Match, scope: Scope): boolean => {
  spend(scope.budget, 1);
  const found = find(match.selector, scope);
  // A missing key of a map equals nothing, holds nothing and matches nothing; it is empty and nil.
  const held =
    found === undefined
      ? match.operator === "empty" || match.operator === "nil"
      : holds(match, indirect(found), scope);
  return held !== match.negated;
};

const keyLocals = ({ binding, selector }: Collection, key: string): readonly Local[] => {
  const value: Value = { type: string, value: key };
  return [
    ...[binding.item, binding.index]
      .filter((name) => name !== undefined)
      .map((name) => ({ name, value })),
    ...(binding.value === undefined
      ? []
      : [{ name: binding.value, path: [...selector.path, key] }]),
  ];
};

const itemLocals = ({ binding, selector }: Collection, index: number): readonly Local[] => {
  const path = [...selector.path, String(index)];
  return [
    ...(binding.index === undefined
      ? []
      : [{ name: binding.index, value: { type: int, value: index } }]),
    ...[binding.item, binding.value]
      .filter((name) => name !== undefined)
      .map((name) => ({ name, path })),
  ];
};

const rounds = (collection: Collection, found: Value): readonly (readonly Local[])[] => {
  if (found.type.kind === "map")
    return keysOf(found.value).map((key) => keyLocals(collection, key));
  if (found.type.kind === "list")
    return itemsOf(found.value).map((_item, index) => itemLocals(collection, index));
  throw refuse(`${collection.selector.text} is not a list or a map`);
};

const evaluateCollection = (collection: Collection, scope: Scope): boolean => {
  const wanted = collection.quantifier === "any";
  const found = find(collection.selector, scope);
  if (found === undefined) return !wanted;
  const { index, value } = collection.binding;
  for (const locals of rounds(collection, indirect(found))) {
    if (index !== undefined && index === value)
      throw refuse(
        `${goQuote(index)} cannot be used as a placeholder for both the index and the value`,
      );
    spend(scope.budget, 1);
    if (evaluate(collection.inner, { ...scope, locals: [...scope.locals, ...locals] }) === wanted)
      return wanted;
  }
  return !wanted;
};

const evaluate = (expression: Expression, scope: Scope): boolean => {
  switch (expression.kind) {
    case "or":
      return evaluate(expression.left, scope) || evaluate(expression.right, scope);
    case "and":
      return evaluate(expression.left, scope) && evaluate(expression.right, scope);
    case "not":
      return !evaluate(expression.operand, scope);
    case "match":
      return evaluateMatch(expression, scope);
    case "collection":
      return evaluateCollection(expression, scope);
  }
};

/** Asks documents of one type; patterns are compiled once. Throws FilterFault. */
export const evaluator = (expression: Expression, type: Value["type"]) => {
  const patternOf = createPatterns();
  return (document: unknown, budget: Budget): boolean =>
    evaluate(expression, { root: { type, value: document }, locals: [], budget, patternOf });
};
