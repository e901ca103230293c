/**
 * The frames of `stream` and `logs` (nomad-http.md §8.6): JSON objects back to back with nothing between them, one HTTP
 * chunk each. A sink takes what a tail reads and waits when the reader is slow; nothing is queued beyond one frame.
 */
import type { ServerResponse } from "node:http";
import type { Beside } from "../../logs/marks.ts";
import type { Life } from "./life.ts";

export const heartbeat = "{}";

export type FileEvent = "file deleted" | "file truncated";

export interface Piece {
  /** `File` as the wire shows it. */
  readonly file: string;
  /** At most `maxFrameBytes`; only valid until `send` resolves. */
  readonly bytes: Buffer;
  /** The file's offset behind these bytes. */
  readonly end: number;
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

/** Where a tail's pieces go. Resolves when the next piece may come; false when the life has ended. */
export interface Sink {
  send(piece: Piece): Promise<boolean>;
}

type Head = Readonly<Record<string, string>>;

const passOn = async (
  response: ServerResponse,
  life: Life,
  head: Head,
  chunk: string | Buffer,
): Promise<boolean> => {
  if (life.over) return false;
  if (!response.headersSent) response.writeHead(200, head);
  if (!response.write(chunk)) await life.drained();
  return !life.over;
};

/** The head goes out with the first frame when it was not sent before. */
export const frameSink = (
  response: ServerResponse,
  life: Life,
  head: Head,
  beside?: (piece: Piece) => Beside,
): Sink => {
  const pass = (frame: string): Promise<boolean> => passOn(response, life, head, frame);
  if (beside === undefined) return { send: (piece) => pass(toFrame(piece)) };
  return {
    send: async (piece) => {
      const { before, behind } = beside(piece);
      for (const frame of [before, toFrame(piece), behind])
        if (frame !== "" && !(await pass(frame))) return false;
      return true;
    },
  };
};

/** `plain`: the bytes alone; events are not visible. */
export const plainSink = (response: ServerResponse, life: Life, head: Head): Sink => ({
  send: ({ bytes }) =>
    bytes.length === 0
      ? Promise.resolve(!life.over)
      : passOn(response, life, head, Buffer.from(bytes)), // a copy: the tail reads on into its own buffer
});
