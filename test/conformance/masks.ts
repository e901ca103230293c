/** What varies from run to run, by kind of answer: the corpus' own list (golden/volatile.json). */
import { readFileSync } from "node:fs";
import type { Json } from "../../src/lib/json.ts";

interface Kind {
  readonly kind: string;
  readonly path: string;
  readonly run?: readonly string[];
  readonly host?: readonly string[];
  readonly state?: readonly string[];
}

const { kinds }: { readonly kinds: readonly Kind[] } = JSON.parse(
  readFileSync(new URL("golden/volatile.json", import.meta.url), "utf8"),
); // a fixture: its form is that of the type

export interface Mask {
  readonly path: readonly string[];
  /** A member that is missing is no difference either. */
  readonly mayMiss: boolean;
  readonly onlyOfDirectories: boolean;
}

const toMask = (text: string, mayMiss: boolean): Mask => {
  const [pointer = ""] = text.split(" if ");
  return {
    path: pointer.split("/").slice(1),
    mayMiss,
    onlyOfDirectories: text.endsWith(" if IsDir"),
  };
};

export const toMasks = (paths: readonly string[]): readonly Mask[] =>
  paths.map((one) => toMask(one, true));

/** Which items a list holds is no matter of state here: the cluster has the recorded ids, and they are compared. */
export const masksOf = (path: string): readonly Mask[] => {
  const kind = kinds.find((one) => new RegExp(one.path).test(path));
  const { run = [], host = [], state = [] } = kind ?? {};
  return [
    ...run.map((one) => toMask(one, true)),
    ...host.map((one) => toMask(one, false)),
    ...state.filter((one) => one !== "").map((one) => toMask(one, false)),
  ];
};

const isIn = (mask: Mask, path: readonly string[], parent: Json | undefined): boolean => {
  if (mask.path.length !== path.length) return false;
  if (!mask.path.every((part, at) => part === "*" || part === path[at])) return false;
  if (!mask.onlyOfDirectories) return true;
  return typeof parent === "object" && parent !== null && Reflect.get(parent, "IsDir") === true;
};

export const maskAt = (
  masks: readonly Mask[],
  path: readonly string[],
  parent: Json | undefined,
): Mask | undefined => masks.find((mask) => isIn(mask, path, parent));
