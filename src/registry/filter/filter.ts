/** A filter of a list request, compiled once, asked of each document (nomad-http.md §1.9). */
import { evaluator } from "./evaluate.ts";
import { parseFilter } from "./parse.ts";
import type { Struct } from "./types.ts";

export type Filter = (document: unknown) => boolean;

/** Steps that one request may spend on all its documents. */
const maxFilterSteps = 10_000_000;
/** Steps that one document may take: nothing else is served meanwhile. */
const maxDocumentSteps = 100_000;

/** Throws FilterFault for a text that does not parse; the filter throws one for what a document cannot be asked. */
export const compileFilter = (text: string, type: Struct, steps = maxFilterSteps): Filter => {
  const ask = evaluator(parseFilter(text), type);
  let left = steps;
  return (document) => {
    const budget = { left: Math.min(left, maxDocumentSteps) };
    const before = budget.left;
    const passed = ask(document, budget);
    left -= before - budget.left;
    return passed;
  };
};
