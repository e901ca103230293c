/** Two documents: the same members, the same kinds of values, and the same values where no mask lies. */
import { isJsonObject, type Json, type JsonObject, stringifyJson } from "../../src/lib/json.ts";
import { type Mask, maskAt } from "./masks.ts";

export interface Unlike {
  readonly path: string;
  readonly recorded: string;
  readonly got: string;
}

const short = (value: Json | undefined): string => {
  const text = value === undefined ? "nothing" : stringifyJson(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
};

const unlike = (path: readonly string[], recorded: Json | undefined, got: Json | undefined): Unlike => ({
  path: `/${path.join("/")}`,
  recorded: short(recorded),
  got: short(got),
}); // biome-ignore format: short

const isList = (value: Json | undefined): value is readonly Json[] => Array.isArray(value);

/** Items that have an id are compared with the item of the same id, in the same order. */
const idOf = (item: Json): Json | undefined => (isJsonObject(item) ? item["ID"] : undefined);

const compareMembers = (
  recorded: JsonObject,
  got: JsonObject,
  masks: readonly Mask[],
  path: readonly string[],
): readonly Unlike[] =>
  [...new Set([...Object.keys(recorded), ...Object.keys(got)])].flatMap((name) => {
    const at = [...path, name];
    const mask = maskAt(masks, at, recorded);
    const [a, b] = [recorded[name], got[name]];
    if (mask !== undefined && (mask.mayMiss || (a !== undefined && b !== undefined))) return [];
    if (a === undefined || b === undefined) return [unlike(at, a, b)];
    return compareJson(a, b, masks, at);
  });

const compareLists = (
  recorded: readonly Json[],
  got: readonly Json[],
  masks: readonly Mask[],
  path: readonly string[],
): readonly Unlike[] => {
  const ids = (list: readonly Json[]): string => list.map((item) => short(idOf(item))).join(" ");
  if (recorded.length !== got.length || ids(recorded) !== ids(got))
    return [
      {
        path: `/${[...path, "#"].join("/")}`,
        recorded: `${recorded.length}: ${ids(recorded)}`,
        got: `${got.length}: ${ids(got)}`,
      },
    ];
  return recorded.flatMap((item, index) => {
    const at = [...path, String(index)];
    const other = got[index];
    if (maskAt(masks, at, item) !== undefined || other === undefined) return [];
    return compareJson(item, other, masks, at);
  });
};

export const compareJson = (
  recorded: Json,
  got: Json,
  masks: readonly Mask[],
  path: readonly string[] = [],
): readonly Unlike[] => {
  if (path.length === 0 && maskAt(masks, path, undefined) !== undefined) return [];
  if (isList(recorded) && isList(got)) return compareLists(recorded, got, masks, path);
  if (isJsonObject(recorded) && isJsonObject(got))
    return compareMembers(recorded, got, masks, path);
  return stringifyJson(recorded) === stringifyJson(got) ? [] : [unlike(path, recorded, got)];
};
