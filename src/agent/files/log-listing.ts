/** The files of a task's log as they are now. */
import { lstat } from "node:fs/promises";
import { GatewayError, notFound } from "../../errors.ts";
import { goQuote } from "../../lib/go.ts";
import { byIndex, type LogFile, logIndex, refuseJunk } from "../../logs/log-files.ts";
import { logsDirectory } from "../../logs/places.ts";
import type { LogsParameters } from "../../parameters.ts";
import { type FilesOf, pinIn } from "./content.ts";
import { errnoCode, errnoWords, PathFault } from "./fault.ts";
import { textNamesIn } from "./names.ts";

/** Nomad's 404 for a log that has no files. */
export const noEntry = ({ task, type }: LogsParameters): GatewayError =>
  notFound(`log entry for task ${goQuote(task)} and log type ${goQuote(type)} not found`);

/** Nomad's words for a logs directory that cannot be listed. */
const listFault = (allocation: FilesOf, cause: unknown): unknown => {
  if (cause instanceof GatewayError) return cause;
  const isPath = cause instanceof PathFault && cause.reason.kind !== "os";
  const errno =
    cause instanceof PathFault && cause.reason.kind === "os"
      ? cause.reason.errno
      : errnoCode(cause);
  const words = isPath
    ? cause.message
    : `open ${allocation.directory}/${logsDirectory}: ${errnoWords(errno)}`;
  return new GatewayError("failed", { text: `failed to list entries: ${words}` }, { cause });
};

type Found = Required<Pick<LogFile, "size" | "inode">>;

const look = async (path: string): Promise<Found | undefined> => {
  try {
    const stats = await lstat(path, { bigint: true });
    return stats.isDirectory() ? undefined : { size: Number(stats.size), inode: String(stats.ino) };
  } catch {
    return undefined; // rotated away since it was listed
  }
};

/** The task's log files now, oldest first. `strict`: a name that is junk is refused as Nomad does. */
export const filesNow = async (
  allocation: FilesOf,
  parameters: LogsParameters,
  mode: "strict" | "lenient",
): Promise<readonly LogFile[]> => {
  const files: LogFile[] = [];
  try {
    await using pinned = await pinIn(allocation, logsDirectory);
    const names = await textNamesIn(pinned.directory);
    if (mode === "strict")
      refuseJunk(parameters, names, (name) => allocation.task(name) !== undefined);
    for (const name of names) {
      const index = logIndex(parameters, name);
      const found = index === undefined ? undefined : await look(`${pinned.directory}/${name}`);
      if (index !== undefined && found !== undefined) files.push({ name, index, ...found });
    }
  } catch (error) {
    throw listFault(allocation, error);
  }
  return files.sort(byIndex);
};
