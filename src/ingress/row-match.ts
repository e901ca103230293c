/**
 * Finds the rows of a plain path without a router: no ids, or one in the form of a UUID. Made from the route table; every
 * other path (ids of jobs, trees, what is unknown) is express's to match, which gives the same rows for these.
 */
import { type Route, routes } from "../routes.ts";

export interface RowMatch {
  readonly rows: readonly Route[];
  /** "" when the path has none. */
  readonly id: string;
}

/** In no path: readTarget writes braces encoded. */
const placeholder = "{id}";
const uuidSegment = /^(\/v1\/[a-z/]{1,40}\/)([0-9a-fA-F-]{36})(\/[a-z]{1,40})?$/;

const rowsByShape: ReadonlyMap<string, readonly Route[]> = Map.groupBy(routes, ({ path }) =>
  path.replace(/[:*]id/, placeholder),
);

/** `path` as readTarget gives it. */
export const matchRows = (path: string): RowMatch | undefined => {
  const [, before, id = "", after = ""] = uuidSegment.exec(path) ?? [];
  const rows = rowsByShape.get(before === undefined ? path : before + placeholder + after);
  return rows && { rows, id };
};
