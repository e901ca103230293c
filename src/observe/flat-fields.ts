/** Fields that hold texts and numbers alone, as those of nearly every line do: written as they are looked at. */
import { isSecret, jsonText } from "./fields.ts";
import { hidden } from "./redact.ts";

/** Members of a line, each after a comma; undefined: there are others among them, which are for `cleanFields`. */
export type FlatFields = (fields: object) => string | undefined;

const simpleName = /^\w{1,64}$/;
const maxNames = 256;

const textOf = (value: unknown): string | undefined => {
  if (typeof value === "string") return jsonText(value);
  if (typeof value === "number") return Number.isFinite(value) ? `${value}` : "null";
  return typeof value === "boolean" ? `${value}` : undefined;
};

/** `reserved` names are the line's own. */
export const createFlatFields = (reserved: ReadonlySet<string>): FlatFields => {
  const secret = new Map<string, boolean>();

  /** Whether a value of that name is hidden; undefined: the name is an odd one. The code's names are few. */
  const isHidden = (name: string): boolean | undefined => {
    const known = secret.get(name);
    if (known !== undefined || secret.size === maxNames) return known;
    if (reserved.has(name) || !simpleName.test(name)) return undefined;
    secret.set(name, isSecret(name));
    return secret.get(name);
  };

  return (fields) => {
    if (Object.getPrototypeOf(fields) !== Object.prototype) return undefined;
    let members = "";
    for (const [name, value] of Object.entries(fields)) {
      const hides = isHidden(name);
      if (value === undefined && hides === false) continue;
      const text = hides === true ? `"${hidden}"` : textOf(value);
      if (hides === undefined || text === undefined) return undefined;
      members += `,"${name}":${text}`;
    }
    return members;
  };
};
