/** How the body of a task's log is written: as it is, in frames, or in records for a gateway. */
import type { ServerResponse } from "node:http";
import { heartbeat } from "../../logs/frame.ts";
import type { Marks } from "../../logs/marks.ts";
import { beginning, logsDirectory, placeOf } from "../../logs/places.ts";
import { beatRecord, enteredRecord } from "../../logs/records.ts";
import type { LogsParameters } from "../../parameters.ts";
import { streamHead } from "./follow.ts";
import type { Begin } from "./log-start.ts";
import { frameSink, plainSink, recordSink, recordsHead, recordsWanted } from "./sinks.ts";

export type Streamed = "plain" | "framed" | "records";
/** `place`: only where it would begin. */
type Form = Streamed | "place";

export const beats = { framed: heartbeat, records: beatRecord } as const;
export const sinks = { plain: plainSink, framed: frameSink, records: recordSink } as const;

export const formOf = ({ plain, follow }: LogsParameters, response: ServerResponse): Form => {
  const usual = plain ? "plain" : "framed";
  return (follow ? recordsWanted(response) : undefined) ?? usual;
};

/** Before a byte of it was looked for; empty for a task that is waited for. */
export const placeRecord = (begin: Begin | undefined): string => {
  if (begin === undefined) return "";
  const { file, offset } = begin.start;
  const { name, index, size, inode = "" } = file;
  const missing = undefined;
  return enteredRecord({ file: `${logsDirectory}/${name}`, index, inode, offset, size, missing });
};

export const headOf = (
  form: Form,
  { plain }: LogsParameters,
  marks: Marks | undefined,
  begin: Begin | undefined,
): Readonly<Record<string, string>> => {
  const type = streamHead(plain ? "text/plain" : "application/json");
  const head = form === "records" || form === "place" ? { ...type, ...recordsHead } : type;
  return marks ? { ...head, ...marks.headAt(begin ? placeOf(begin.start) : beginning) } : head;
};
