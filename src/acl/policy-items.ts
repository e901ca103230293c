/** The blocks of a policy document as items: what label, what contents, where (nomad-acl.md §1.1). */
import { isJsonObject, type Json, type JsonObject } from "../lib/json.ts";

/** What is wrong and where: a path such as `namespace[0].default.policy`; "" is the document. */
export interface PolicyFault {
  readonly path: string;
  readonly text: string;
}

/** A block's contents with its label ("" for none) and where it stands. */
export interface Item {
  readonly label: string;
  readonly body: JsonObject;
  readonly path: string;
}

/** Wrong syntax or kinds of values; found faults of it end the parse, as a decoder's would. */
export class Faults {
  readonly list: PolicyFault[] = [];
  add(path: string, text: string): void {
    this.list.push({ path, text });
  }
  syntax(path: string, text: string): void {
    this.add(path, `Failed to parse ACL Policy: ${path}: ${text}`);
  }
}

/** A value as the list of objects it stands for. */
export const objectsOf = (value: Json, path: string, faults: Faults): readonly Item[] => {
  const list: readonly Json[] = Array.isArray(value) ? value : [value];
  return list.flatMap((body, index) => {
    const where = Array.isArray(value) ? `${path}[${index}]` : path;
    if (isJsonObject(body)) return [{ label: "", body, path: where }];
    faults.syntax(where, "must be an object or a list of objects");
    return [];
  });
};

/** `[{label: {...}}, ...]` or `{label: {...}, ...}` as one item a label. A block without a label is an error. */
export const labelledItems = (
  value: Json,
  path: string,
  faults: Faults,
  unlabelled: (path: string) => void,
): readonly Item[] => {
  const objects = objectsOf(value, path, faults);
  if (objects.some(({ body }) => Object.keys(body).length === 0) || objects.length === 0)
    faults.syntax(path, "invalid acl policy: the block has no label");
  return objects.flatMap((object) =>
    Object.entries(object.body).flatMap(([label, body]) => {
      const where = `${object.path}.${label}`;
      if (isJsonObject(body)) return [{ label, body, path: where }];
      if (Array.isArray(body) && body.every((one: Json) => isJsonObject(one)))
        return objectsOf(body, where, faults).map((item) => ({ ...item, label }));
      if (typeof body === "string" || Array.isArray(body)) unlabelled(object.path);
      else faults.syntax(where, "must be an object");
      return [];
    }),
  );
};

/** The values of an attribute, whose name matches in any case. */
export const attributes = (body: JsonObject, name: string): readonly (readonly [string, Json])[] =>
  Object.entries(body).filter(([key]) => key.toLowerCase() === name);

export const policyOf = ({ body, path }: Item, faults: Faults): string | undefined => {
  let policy: string | undefined;
  for (const [key, value] of attributes(body, "policy")) {
    if (typeof value === "string") policy = value;
    else faults.syntax(`${path}.${key}`, "must be a string");
  }
  return policy;
};

export const capabilitiesOf = ({ body, path }: Item, faults: Faults): readonly string[] =>
  attributes(body, "capabilities").flatMap(([key, value]) => {
    if (Array.isArray(value) && value.every((word: Json) => typeof word === "string")) return value;
    faults.syntax(`${path}.${key}`, "must be a list of strings");
    return [];
  });
