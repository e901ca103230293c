/** Where an answer begins in a task's log: the checks of Nomad's client in its order, then the place asked for. */
import { GatewayError, invalidRequest, notFound } from "../../errors.ts";
import { goQuote } from "../../lib/go.ts";
import type { LogsParameters } from "../../parameters.ts";
import type { FilesOf } from "./content.ts";
import { goOnIn, type LogFile, type LogStart, startIn } from "./log-files.ts";
import { filesNow, logsDirectory, noEntry } from "./log-listing.ts";
import type { LogPlace } from "./resume-token.ts";

/** How far the task is; throws what Nomad says of one that is not there. */
export const isStarted = (allocation: FilesOf, { task }: LogsParameters): boolean => {
  if (allocation.collected)
    throw notFound(`state for allocation ${allocation.id} not found on client`);
  const known = allocation.task(task);
  if (known === undefined) throw invalidRequest(`unknown task name ${goQuote(task)}`);
  return known.started;
};

/** What is said of bytes that a reader can get no more. */
export const lost = (
  { task, type }: LogsParameters,
  { index, offset }: Pick<LogPlace, "index" | "offset">,
  files: readonly LogFile[],
): GatewayError => {
  const oldest = files[0];
  const rest = oldest ? `the oldest file is ${oldest.name}` : "it has no files";
  return new GatewayError("gone", {
    text: `the log is lost from byte ${offset} of ${logsDirectory}/${task}.${type}.${index} on: it was rotated away or replaced, ${rest}; begin anew with resume=true`,
  });
};

const goOn = (files: readonly LogFile[], parameters: LogsParameters, place: LogPlace): LogStart => {
  const skip = Number(parameters.skip ?? 0n);
  const start = goOnIn(files, place, skip);
  if (start === "lost") throw lost(parameters, place, files);
  if (start === "beyond")
    throw new GatewayError("bad_request", {
      text: `skip: the log has no ${skip} bytes behind the token's place; count the bytes of the log that came behind it`,
    });
  return start;
};

/** Of a log that its task has not begun. */
export const beginning: LogPlace = { index: 0, inode: "", offset: 0 };

export const placeOf = ({ file, offset }: LogStart): LogPlace => ({
  index: file.index,
  inode: file.inode ?? "",
  offset,
});

export interface Begin {
  readonly start: LogStart;
  /** The highest index that is read. */
  readonly last: number;
}

/** Throws the refusal. */
export const beginOf = async (
  allocation: FilesOf,
  parameters: LogsParameters,
  resumed: LogPlace | undefined,
): Promise<Begin> => {
  const { task, origin, offset, follow } = parameters;
  if (!isStarted(allocation, parameters))
    throw notFound(`task ${goQuote(task)} not started yet. No logs available`);
  const files = await filesNow(allocation, parameters, "strict");
  const start = resumed ? goOn(files, parameters, resumed) : startIn(files, origin, Number(offset));
  const last = files.at(-1)?.index;
  if (start === undefined || last === undefined) throw noEntry(parameters);
  return { start, last: follow ? Number.POSITIVE_INFINITY : last };
};
