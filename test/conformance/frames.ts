/** Frames of `stream` and `logs`: JSON objects with nothing between them, `{}` as heartbeat. */
import { isJsonObject, type JsonObject, parseJson } from "../../src/lib/json.ts";

export interface Frames {
  readonly frames: readonly JsonObject[];
  readonly heartbeats: number;
  /** What stands after the last frame: an error's text, or half a frame. */
  readonly rest: string;
}

/** No string of a frame holds a brace: base64, paths and closed words. */
const frame = /\{[^{}]*\}/y;

export const readFrames = (body: Buffer): Frames => {
  const text = body.toString("latin1");
  const frames: JsonObject[] = [];
  let heartbeats = 0;
  let at = 0;
  for (;;) {
    frame.lastIndex = at;
    const found = frame.exec(text);
    if (found === null) return { frames, heartbeats, rest: text.slice(at) };
    at = frame.lastIndex;
    const value = parseJson(found[0]);
    if (!isJsonObject(value)) continue;
    if (Object.keys(value).length === 0) heartbeats++;
    else frames.push(value);
  }
};

const textOf = (value: unknown): string => (typeof value === "string" ? value : "");

/** What a reader has at the end: each file's bytes in order of appearance, with its events at their place. */
export const contentOf = ({ frames }: Frames): string => {
  const files = new Map<string, string[]>();
  for (const { Data, File, FileEvent } of frames) {
    const name = textOf(File);
    const parts = files.get(name) ?? [];
    files.set(name, parts);
    if (FileEvent !== undefined) parts.push(`<${textOf(FileEvent)}>`);
    parts.push(Buffer.from(textOf(Data), "base64").toString("latin1"));
  }
  return [...files].map(([name, parts]) => `${name}: ${parts.join("")}`).join("\n");
};

/** All bytes, whatever file they were in. */
const bytesOf = ({ frames }: Frames): number =>
  frames.reduce((sum, { Data }) => sum + Buffer.from(textOf(Data), "base64").length, 0);

/** For a body that grows: looks at what was added alone, and is true once all bytes wanted and a wanted heartbeat have come. */
export const hasCome = (wanted: Frames): ((body: Buffer) => boolean) => {
  const wantedBytes = bytesOf(wanted);
  let [bytes, heartbeats, looked] = [0, 0, 0];
  return (body) => {
    const added = readFrames(body.subarray(looked));
    looked = body.length - added.rest.length;
    bytes += bytesOf(added);
    heartbeats += added.heartbeats;
    return bytes >= wantedBytes && (wanted.heartbeats === 0 || heartbeats > 0);
  };
};

export const joinedOf = ({ frames }: Frames): string =>
  frames.map(({ Data }) => Buffer.from(textOf(Data), "base64").toString("latin1")).join("");

export const lastOffset = ({ frames }: Frames): string =>
  String(frames.at(-1)?.["Offset"] ?? "none");
