/**
 * The frames of `stream` and `logs` (nomad-http.md §8.6): JSON objects back to back with nothing between them, one HTTP
 * chunk each. Pure.
 */
import type { Read } from "./marks.ts";

export const heartbeat = "{}";

export type FileEvent = "file deleted" | "file truncated";

/** At most `maxFrameBytes`; only valid until it was sent. */
export interface Piece extends Read {
  /** `File` as the wire shows it. */
  readonly file: string;
  readonly event: FileEvent | undefined;
}

/** One frame: empty data, no event and offset 0 are left out, as Go's `omitempty` does. */
export const toFrame = ({ file, bytes, end, event }: Piece): string => {
  const members: string[] = [];
  if (bytes.length > 0) members.push(`"Data":"${bytes.toString("base64")}"`);
  if (file !== "") members.push(`"File":${JSON.stringify(file.toWellFormed())}`);
  if (event !== undefined) members.push(`"FileEvent":"${event}"`);
  if (end !== 0) members.push(`"Offset":${end}`);
  return `{${members.join(",")}}`;
};
