/** Writes a filter's tree as text: the other half of the round trip. */
import type { Binding, Expression, Selector } from "../../../src/registry/filter/expression.ts";

const selector = ({ path: [first = "", ...rest] }: Selector): string =>
  first + rest.map((part) => `[${JSON.stringify(part)}]`).join("");

const names = ({ item, index, value }: Binding): string =>
  item ?? (value === undefined ? `${index}, _` : `${index ?? "_"}, ${value}`);

const operators = {
  equal: ["==", "!="],
  matches: ["matches", "not matches"],
  in: ["contains", "not contains"],
  empty: ["is empty", "is not empty"],
  nil: ["is nil", "is not nil"],
} as const;

export const printFilter = (expression: Expression): string => {
  switch (expression.kind) {
    case "or":
    case "and":
      return `(${printFilter(expression.left)}) ${expression.kind} (${printFilter(expression.right)})`;
    case "not":
      return `not (${printFilter(expression.operand)})`;
    case "match": {
      const operator = operators[expression.operator][expression.negated ? 1 : 0];
      const left = `${selector(expression.selector)} ${operator}`;
      return expression.value === undefined ? left : `${left} \`${expression.value}\``;
    }
    case "collection":
      return `(${expression.quantifier} ${selector(expression.selector)} as ${names(expression.binding)} { ${printFilter(expression.inner)} })`;
  }
};
