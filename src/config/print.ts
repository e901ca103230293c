/** The settings in force as a file that loads again, each with where it is from. Secrets are `***`. */
import { isMap, isScalar, type Node, type YAMLMap, Document as YamlDocument } from "yaml";
import type { Layered } from "./layers.ts";
import type { Loaded } from "./load.ts";
import type { Row, Rows, Setting } from "./settings.ts";
import { isTree, type Tree } from "./tree.ts";

const masked = "***";

const mask = (value: unknown): unknown =>
  isTree(value) ? Object.fromEntries(Object.keys(value).map((key) => [key, masked])) : masked;

const settingInForce = (row: Setting, given: unknown): unknown => {
  const value = given === undefined ? row.fallback : given;
  return value !== undefined && row.secret ? mask(value) : value;
};

const inForce = (row: Row, given: unknown): unknown => {
  switch (row.type) {
    case "setting":
      return settingInForce(row, given);
    case "section":
      return given === undefined && row.schema.safeParse(undefined).data === undefined
        ? undefined
        : treeInForce(row.rows, isTree(given) ? given : {});
    case "list":
      return Array.isArray(given)
        ? given.map((item) => treeInForce(row.rows, isTree(item) ? item : {}))
        : [];
  }
};

const treeInForce = (rows: Rows, given: Tree): Tree =>
  Object.fromEntries(
    Object.entries(rows)
      .map(([key, row]): readonly [string, unknown] => [key, inForce(row, given[key])])
      .filter(([, value]) => value !== undefined),
  );

const remark = (layered: Layered, path: string): string | undefined => {
  const origin = layered.origins.get(path);
  return origin === undefined ? undefined : ` ${origin.split(": ")[0] ?? ""}`;
};

/** Says beside each value that a variable or flag set it. */
const annotate = (map: YAMLMap, layered: Layered, above: string): void => {
  for (const { key, value } of map.items) {
    const path = `${above}${isScalar(key) ? String(key.value) : ""}`;
    if (isMap(value)) annotate(value, layered, `${path}.`);
    const words = remark(layered, path);
    if (words !== undefined && value !== null) (value as Node).comment = words; // what `items` holds after createNode
  }
};

/** YAML. Without secrets it can be used as a file as it is. */
export const printConfig = ({ rows, layered }: Loaded<unknown>): string => {
  const yaml = new YamlDocument(treeInForce(rows, layered.value));
  if (isMap(yaml.contents)) annotate(yaml.contents, layered, "");
  return yaml.toString({ lineWidth: 0 });
};
