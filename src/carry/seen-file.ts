/** A file as its agent's `stat` describes it, and the entity tag of this version of it (RFC 9110 §8.8.3). Pure. */
import { GatewayError } from "../errors.ts";
import { isCount, isJsonObject, type JsonObject, parseJson } from "../lib/json.ts";

export interface SeenFile {
  readonly size: number;
  readonly isDirectory: boolean;
  /** Strong: another one as soon as the agent shows another size or time (serai's own: or another file). */
  readonly tag: string;
  /** Milliseconds since the epoch by the node's clock. */
  readonly changedAtMs: number;
}

const proper = /^"[\x21\x23-\x7e]{1,128}"$/;
const goTime = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/;

interface Time {
  readonly ms: number;
  /** Whole, since the epoch. */
  readonly nanoseconds: string;
}

/** Go's time, in whatever zone it was written. */
const timeIn = (text: string): Time | undefined => {
  const [, whole, fraction = "", zone] = goTime.exec(text) ?? [];
  const ms = Date.parse(`${whole}${zone}`);
  return Number.isNaN(ms)
    ? undefined
    : {
        ms: ms + Number(`0.${fraction}0`) * 1_000,
        nanoseconds: `${ms / 1000}.${fraction.padEnd(9, "0")}`,
      };
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
  const at = typeof time === "string" ? timeIn(time) : undefined;
  if (!isCount(size) || at === undefined)
    throw new GatewayError("upstream_invalid", { node, reason: "its stat describes no file" });
  const isProper = typeof ownTag === "string" && proper.test(ownTag);
  const tag = isProper ? ownTag : `"${size}-${at.nanoseconds}"`;
  return { size, isDirectory: isDirectory === true, tag, changedAtMs: at.ms };
};
