/** A file as its agent's `stat` describes it, and the entity tag of this version of it (RFC 9110 §8.8.3). Pure. */
import { GatewayError } from "../errors.ts";
import { isJsonObject, type JsonObject, parseJson } from "../lib/json.ts";

export interface SeenFile {
  readonly size: number;
  readonly isDirectory: boolean;
  /** Strong: another one as soon as the agent shows another size or time (serai's own: or another file). */
  readonly tag: string;
}

const proper = /^"[\x21\x23-\x7e]{1,128}"$/;
const goTime = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/;

/** Go's time in nanoseconds since the epoch, in whatever zone it was written. */
const nanoseconds = (text: string): string | undefined => {
  const [, whole, fraction = "", zone] = goTime.exec(text) ?? [];
  const ms = Date.parse(`${whole}${zone}`);
  return Number.isNaN(ms) ? undefined : `${ms / 1000}.${fraction.padEnd(9, "0")}`;
};

const objectIn = (text: string): JsonObject | undefined => {
  try {
    const json = parseJson(text);
    return isJsonObject(json) ? json : undefined;
  } catch {
    return undefined;
  }
};

/** `ownTag` is the `ETag` of the agent's answer, which Nomad's agents do not send. Throws `upstream_invalid`. */
export const seenFile = (text: string, ownTag: unknown, node: string): SeenFile => {
  const { Size: size, IsDir: isDirectory, ModTime: time } = objectIn(text) ?? {};
  const at = typeof time === "string" ? nanoseconds(time) : undefined;
  if (typeof size !== "number" || !(size >= 0) || at === undefined)
    throw new GatewayError("upstream_invalid", { node, reason: "its stat describes no file" });
  const isProper = typeof ownTag === "string" && proper.test(ownTag);
  return { size, isDirectory: isDirectory === true, tag: isProper ? ownTag : `"${size}-${at}"` };
};
