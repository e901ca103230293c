/** Where an answer begins in a task's log: the checks of Nomad's client in its order, then the place asked for. */
import { invalidRequest, notFound } from "../../errors.ts";
import { goQuote } from "../../lib/go.ts";
import { type LogStart, startIn } from "../../logs/log-files.ts";
import { goOn } from "../../logs/places.ts";
import type { LogPlace } from "../../logs/resume-token.ts";
import type { LogsParameters } from "../../parameters.ts";
import type { FilesOf } from "./content.ts";
import { filesNow, noEntry } from "./log-listing.ts";

/** How far the task is; throws what Nomad says of one that is not there. */
export const isStarted = (allocation: FilesOf, { task }: LogsParameters): boolean => {
  if (allocation.collected)
    throw notFound(`state for allocation ${allocation.id} not found on client`);
  const known = allocation.task(task);
  if (known === undefined) throw invalidRequest(`unknown task name ${goQuote(task)}`);
  return known.started;
};

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
