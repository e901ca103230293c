/**
 * Where a tail's pieces go: frames, plain bytes, or records for a gateway. A sink takes what a tail reads and waits when the
 * reader is slow; nothing is queued beyond one piece.
 */
import type { ServerResponse } from "node:http";
import { type Piece, toFrame } from "../../logs/frame.ts";
import type { Marks } from "../../logs/marks.ts";
import { begunAnew } from "../../logs/places.ts";
import {
  type Entered,
  enteredRecord,
  formHeader,
  placeForm,
  recordsForm,
  toldRecord,
} from "../../logs/records.ts";
import type { Life } from "./life.ts";

export interface SizedPiece extends Piece {
  /** What the file had when it was read. */
  readonly size: number;
}

/** Each resolves when the next may come; false when the life has ended. */
export interface Sink {
  /** The file that what comes next is of. */
  enter(entered: Entered): Promise<boolean>;
  send(piece: SizedPiece): Promise<boolean>;
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
  marks?: Marks,
): Sink => {
  const pass = (frame: string): Promise<boolean> => passOn(response, life, head, frame);
  return {
    enter: async (entered) => {
      marks?.enter(entered, entered.missing);
      return !life.over;
    },
    send: async (piece) => {
      if (marks === undefined) return pass(toFrame(piece));
      const { before, behind } = marks.beside(piece);
      for (const frame of [before, toFrame(piece), behind])
        if (frame !== "" && !(await pass(frame))) return false;
      return true;
    },
  };
};

/** `plain`: the bytes alone; events are not visible, so that one cuts a reader who counts bytes. */
export const plainSink = (
  response: ServerResponse,
  life: Life,
  head: Head,
  marks?: Marks,
): Sink => ({
  enter: async () => !life.over,
  send: async ({ bytes, event, file }) => {
    if (marks && event !== undefined) throw begunAnew(file);
    if (bytes.length === 0) return !life.over;
    return await passOn(response, life, head, Buffer.from(bytes)); // a copy: the tail reads on into its own buffer
  },
});

/** For a gateway, which makes frames or plain bytes of them. */
export const recordSink = (response: ServerResponse, life: Life, head: Head): Sink => ({
  enter: (entered) => passOn(response, life, head, enteredRecord(entered)),
  send: (piece) => passOn(response, life, head, toldRecord(piece)),
});

export const recordsHead: Head = { [formHeader]: recordsForm };

/** Only a gateway asks so, of a log that it follows. */
export const recordsWanted = ({ req }: ServerResponse): "records" | "place" | undefined => {
  const form = req.method === "GET" ? req.headers[formHeader.toLowerCase()] : undefined;
  return form === recordsForm || form === placeForm ? form : undefined;
};
