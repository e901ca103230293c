/** A task's log files by index, and where in them an origin and offset point (nomad-http.md §8.7). Pure. */
import { failed } from "../errors.ts";
import { goQuote, parseGoInt } from "../lib/go.ts";
import type { LogPlace } from "./resume-token.ts";

export interface LogFile {
  readonly name: string;
  readonly index: number;
  readonly size: number;
  readonly inode?: string;
}

/** Whose logs: a task and a type. The task's name is only ever a part of a file's name. */
export interface LogsOf {
  readonly task: string;
  readonly type: "stdout" | "stderr";
}

const prefixOf = ({ task, type }: LogsOf): string => `${task}.${type}.`;

/** The index of one of these logs' files; undefined for other files and for junk. */
export const logIndex = (logs: LogsOf, name: string): number | undefined => {
  const prefix = prefixOf(logs);
  if (!name.startsWith(prefix)) return undefined;
  const parsed = parseGoInt(name.slice(prefix.length));
  return parsed.ok ? Number(parsed.value) : undefined;
};

const otherTasksLog = /^(.*)\.(?:stdout|stderr)\.\d+$/s;

/** Nomad's 500 for a name that starts as a log of the task and ends in no number, unless it is another task's log. */
export const refuseJunk = (
  logs: LogsOf,
  names: readonly string[],
  isTask: (name: string) => boolean,
): void => {
  const prefix = prefixOf(logs);
  for (const name of names) {
    if (!name.startsWith(prefix)) continue;
    const suffix = name.slice(prefix.length);
    const parsed = parseGoInt(suffix);
    if (parsed.ok || isTask(otherTasksLog.exec(name)?.[1] ?? "")) continue;
    const words = parsed.text.replace("strconv.ParseInt", "strconv.Atoi");
    throw failed(`failed to convert ${goQuote(suffix)} to a log index: ${words}`);
  }
};

export const byIndex = (one: LogFile, other: LogFile): number => one.index - other.index;

/** A file and the place in it to start at. */
export interface LogStart {
  readonly file: LogFile;
  readonly offset: number;
}

const forwards = (
  files: readonly LogFile[],
  from: number,
  offset: number,
): LogStart | undefined => {
  let left = offset;
  for (const file of files.slice(from)) {
    if (left <= file.size) return { file, offset: left };
    left -= file.size;
  }
  const newest = files.at(-1);
  return newest && { file: newest, offset: newest.size };
};

const backwards = (
  files: readonly LogFile[],
  from: number,
  offset: number,
): LogStart | undefined => {
  let left = offset;
  for (const file of files.slice(0, from + 1).reverse()) {
    if (left <= file.size) return { file, offset: file.size - left };
    left -= file.size;
  }
  const oldest = files[0];
  return oldest && { file: oldest, offset: 0 };
};

/**
 * Where to start: from the oldest or the newest file, forwards or backwards. An offset of 0 from the end is the
 * beginning of the newest file, which is what `nomad alloc logs -f` asks for. `files` by index; undefined when empty.
 */
export const startIn = (
  files: readonly LogFile[],
  origin: "start" | "end",
  offset: number,
): LogStart | undefined => {
  const from = origin === "start" ? 0 : files.length - 1;
  const distance = origin === "start" ? offset : 0 - offset; // never -0
  return distance < 0 ? backwards(files, from, -distance) : forwards(files, from, distance);
};

/**
 * Where to go on from a place, so many bytes further. `lost`: its file is gone, is another or has become shorter, or one
 * behind it is missing. `beyond`: the log does not go so far.
 */
export const goOnIn = (
  files: readonly LogFile[],
  { index, inode, offset }: LogPlace,
  skip: number,
): LogStart | "lost" | "beyond" => {
  const at = files.findIndex((file) => file.index === index);
  const file = files[at];
  if (file === undefined || (inode !== "" && file.inode !== inode) || file.size < offset)
    return "lost";
  let left = offset + skip;
  let expected = index;
  for (const one of files.slice(at)) {
    if (one.index !== expected) return "lost";
    if (left <= one.size) return { file: one, offset: left };
    left -= one.size;
    expected++;
  }
  return "beyond";
};
