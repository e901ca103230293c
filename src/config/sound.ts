/**
 * Settings as far as they are sound, for the checks that look at several. To read one that is not sound throws, and ends the
 * check that reads it without a word: no mistake is told twice, and none that is only another's shadow. So a check need not
 * say which settings it looks at.
 */
import { type Row, type Rows, type Section, typedName } from "./settings.ts";
import { isTree, type Tree } from "./tree.ts";

class Unsound extends Error {}

/** `setting: what is wrong`, or several of them. */
type Words = string | false | undefined | readonly string[];
export type Check<About extends readonly unknown[]> = (...about: About) => Words;

/** What the checks say that have looked at sound settings alone. */
export const faultsOf = <About extends readonly unknown[]>(
  checks: readonly Check<About>[],
  ...about: About
): readonly string[] =>
  checks.flatMap((check) => {
    try {
      return check(...about) || [];
    } catch (error) {
      if (error instanceof Unsound) return [];
      throw error;
    }
  });

/** Those that are there more than once, each once. */
export const doubles = (names: readonly string[]): readonly string[] => [
  ...new Set(names.filter((name, at) => names.indexOf(name) !== at)),
];

/** True for a setting of which it is not known what was meant, whatever stands there. */
export type IsDoubtful = (path: string) => boolean;

const partsOf = (rows: Rows, tree: unknown, above: string, isDoubtful: IsDoubtful): object => {
  if (!isTree(tree)) throw new Unsound();
  const hasUnknown = Object.keys(tree).some((key) => !Object.hasOwn(rows, key)); // it may be what one that is missing was meant by
  const parts = {};
  for (const [key, row] of Object.entries(rows))
    Object.defineProperty(parts, typedName(key, row), {
      get: () => {
        if (hasUnknown && tree[key] === undefined) throw new Unsound();
        return partOf(row, tree[key], `${above}${key}`, isDoubtful);
      },
    });
  return parts;
};

const parsed = ({ schema }: Row, value: unknown): unknown => {
  const { success, data } = schema.safeParse(value);
  if (!success) throw new Unsound();
  return data;
};

const partOf = (row: Row, value: unknown, path: string, isDoubtful: IsDoubtful): unknown => {
  if (row.type === "section") {
    const isLeftOut = value === undefined && parsed(row, value) === undefined;
    return isLeftOut ? undefined : partsOf(row.rows, value ?? {}, `${path}.`, isDoubtful);
  }
  if (isDoubtful(path)) throw new Unsound();
  if (row.type === "list" && Array.isArray(value))
    return value.map((item, at) => partsOf(row.rows, item, `${path}.${at}.`, isDoubtful));
  return parsed(row, value);
};

/** What the section's schema makes of the tree, read when it is looked at; what is not sound throws for `faultsOf` to catch. */
export const soundParts = <T>(root: Section<T>, tree: Tree, isDoubtful: IsDoubtful): T => {
  const parts: unknown = partsOf(root.rows, tree, "", isDoubtful);
  return parts as T; // named and typed by the same rows
};
