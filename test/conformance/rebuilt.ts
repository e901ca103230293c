/** Frames that were recorded by head, tail and digest only: made whole from the files whose bytes they carried. */
import { hash } from "node:crypto";
import type { Chunk } from "./corpus.ts";

const lines = (word: string, count: number): string =>
  Array.from(
    { length: count },
    (_, i) => `${word} ${String(i + 1).padStart(8, "0")} 0123456789\n`,
  ).join("");

let known: readonly Buffer[] | undefined;

/** What the corpus' tasks wrote: two flat files and the rotating log, which was appended to twice. */
const knownContents = (): readonly Buffer[] => {
  known ??= [
    Buffer.from(`${lines("line", 90_000)}end\n${lines("more", 50_000)}${lines("more", 50_000)}`),
    Buffer.alloc(150_000, "b"),
    Buffer.alloc(65_536, "a"),
  ];
  return known;
};

const prefix = '{"Data":"';

const slices = (start: Buffer, length: number): readonly Buffer[] =>
  knownContents().flatMap((content) => {
    const found: Buffer[] = [];
    for (let at = content.indexOf(start); at >= 0; at = content.indexOf(start, at + 1)) {
      if (at + length <= content.length) found.push(content.subarray(at, at + length));
      if (found.length === 2) break; // "more" was written twice: the digest tells which, if it matters
    }
    return found;
  });

const padding = (base64Tail: string): number => /=*$/.exec(base64Tail)?.[0].length ?? 0;

/** The frame, checked against its digest; undefined when it cannot be made. */
const rebuiltFrame = ({ bytes = 0, head = "", tail = "", sha256 }: Chunk): Buffer | undefined => {
  if (!head.startsWith(prefix)) return undefined;
  const rest = tail.slice(tail.indexOf('"'));
  const base64Length = bytes - prefix.length - rest.length;
  const length = (base64Length / 4) * 3 - padding(tail.slice(0, tail.indexOf('"')));
  const shown = head.slice(prefix.length);
  const start = Buffer.from(shown.slice(0, shown.length - (shown.length % 4)), "base64");
  for (const slice of slices(start, length)) {
    const frame = Buffer.from(`${prefix}${slice.toString("base64")}${rest}`);
    if (hash("sha256", frame, "hex") === sha256) return frame;
  }
  return undefined;
};

/** A plain chunk: the bytes themselves. */
const rebuiltPlain = ({ bytes = 0, head = "", sha256 }: Chunk): Buffer | undefined =>
  slices(Buffer.from(head), bytes).find((slice) => hash("sha256", slice, "hex") === sha256);

export const rebuilt = (chunk: Chunk): Buffer | undefined =>
  chunk.head?.startsWith(prefix) ? rebuiltFrame(chunk) : rebuiltPlain(chunk);
