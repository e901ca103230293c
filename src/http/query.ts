import { parseQuery, type RawQuery } from "../parameters.ts";

/** The query of a request target; empty without one. */
export const queryOf = (target: string): RawQuery => {
  const mark = target.indexOf("?");
  return parseQuery(mark < 0 ? "" : target.slice(mark + 1));
};
