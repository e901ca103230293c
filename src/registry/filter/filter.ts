/** A filter of a list request, compiled once, asked of each document (nomad-http.md §1.9). */
import { evaluator } from "./evaluate.ts";
import { parseFilter } from "./parse.ts";
import type { Struct } from "./types.ts";

export type Filter = (document: unknown) => boolean;

/** Steps one request may spend: about a second of one core at worst. */
export const maxFilterSteps = 2_000_000;

/** Throws FilterFault for a text that does not parse; the filter throws one for what a document cannot be asked. */
export const compileFilter = (text: string, type: Struct, steps = maxFilterSteps): Filter => {
  const ask = evaluator(parseFilter(text), type);
  const budget = { left: steps };
  return (document) => ask(document, budget);
};
