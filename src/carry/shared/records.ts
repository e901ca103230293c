/** A followed log asked of an agent of serai's in records, and its records as entries. */
import { GatewayError } from "../../errors.ts";
import {
  formHeader,
  InvalidRecord,
  placeForm,
  RecordReader,
  recordsForm,
} from "../../logs/records.ts";
import type { Headers } from "../../upstream/head.ts";
import type { Listener } from "../ask.ts";
import type { AgentRequest } from "../request.ts";
import { type Entry, isSameFile, type LogFile, type Place } from "./ring.ts";

/** Nomad's agents pay no heed to it. */
export const asked = (form: "records" | "place", request: AgentRequest): AgentRequest => ({
  ...request,
  headers: { ...request.headers, [formHeader]: form === "place" ? placeForm : recordsForm },
});

export const isInRecords = (status: number, headers: Headers): boolean =>
  status === 200 && headers[formHeader.toLowerCase()] === recordsForm;

/** Takes what records say. What it throws ends the request. */
export interface Tap {
  readonly entry: (entry: Entry) => void;
  /** The agent lives, and has no more for now. */
  readonly beat: () => void;
  /** After each piece of the body, be it but a sign of life. False: no more until the flow is resumed. */
  readonly heard: () => boolean;
}

const none = Buffer.alloc(0);

/** The body's part of a listener. */
export const recordBody = (tap: Tap, node: string): Pick<Listener, "data" | "end"> => {
  let of: LogFile | undefined;
  const reader = new RecordReader({
    entered({ file, index, inode, offset, size, missing }) {
      of = { file, index, inode, isUnsure: false };
      tap.entry({
        of,
        bytes: none,
        end: offset,
        size,
        event: undefined,
        missing,
        chunks: {},
      });
    },
    told({ bytes, end, size, event }) {
      if (of === undefined) throw new InvalidRecord("a piece of no file");
      if (event !== undefined) of.isUnsure = true;
      tap.entry({ of, bytes, end, size, event, missing: undefined, chunks: {} });
    },
    beat: tap.beat,
  });
  const invalid = (cause: InvalidRecord): GatewayError =>
    new GatewayError("upstream_invalid", { node, reason: cause.message }, { cause });
  return {
    data(chunk, done) {
      try {
        reader.read(done === undefined ? chunk : Buffer.from(chunk));
      } catch (error) {
        throw error instanceof InvalidRecord ? invalid(error) : error;
      }
      done?.();
      return tap.heard();
    },
    end() {
      if (!reader.isBetween) throw invalid(new InvalidRecord("it ends within a record"));
    },
  };
};

/** Throws when what an agent goes on with is not where somebody stood. */
export const checkGoesOn = (at: Place, { of, end, bytes }: Entry, node: string): void => {
  if (!isSameFile(at.of, of) || at.offset !== end || bytes.length > 0)
    throw new GatewayError("upstream_invalid", {
      node,
      reason: "it goes on with the log elsewhere",
    });
};
