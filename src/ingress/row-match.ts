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

type Rows = ReadonlyMap<string, readonly Route[]>;

const idOfTable = /[:*]id/;
const uuidSegment = /^(\/v1\/[a-z/]{1,40}\/)([0-9a-fA-F-]{36})(\/[a-z]{1,40})?$/;

const withId = routes.filter(({ path }) => idOfTable.test(path));
const withoutId = routes.filter(({ path }) => !idOfTable.test(path));

const rowsByPath: Rows = Map.groupBy(withoutId, ({ path }) => path);

/** By what stands before the id, and by what stands behind it. */
const rowsByEnds: ReadonlyMap<string, Rows> = new Map(
  [...Map.groupBy(withId, ({ path }) => path.split(idOfTable)[0] ?? "")].map(([before, rows]) => [
    before,
    Map.groupBy(rows, ({ path }) => path.split(idOfTable)[1] ?? ""),
  ]),
);

/** `path` as readTarget gives it. */
export const matchRows = (path: string): RowMatch | undefined => {
  const [, before, id = "", after = ""] = uuidSegment.exec(path) ?? [];
  const rows = before === undefined ? rowsByPath.get(path) : rowsByEnds.get(before)?.get(after);
  return rows && { rows, id };
};
