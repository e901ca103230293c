/** `fs.logs`: a task's log over its rotated files, framed or plain (nomad-http.md §8.7). */
import { lstat } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { GatewayError, invalidRequest, notFound } from "../../errors.ts";
import { goQuote } from "../../lib/go.ts";
import type { LogsParameters } from "../../parameters.ts";
import { type Content, type FilesOf, openContent, pinIn } from "./content.ts";
import { errnoCode, errnoWords, PathFault } from "./fault.ts";
import { isGone, type SeenDirectory, type Shared, sendHead, streamHead } from "./follow.ts";
import { frameSink, plainSink, type Sink } from "./frames.ts";
import { Bell, Life } from "./life.ts";
import {
  byIndex,
  type LogFile,
  type LogStart,
  logIndex,
  refuseJunk,
  startIn,
} from "./log-files.ts";
import { textNamesIn } from "./names.ts";
import { Tail } from "./tail.ts";

const logsDirectory = "alloc/logs";

/** One answer on its way. */
interface Session {
  readonly allocation: FilesOf;
  readonly parameters: LogsParameters;
  readonly response: ServerResponse;
  readonly shared: Shared;
  readonly life: Life;
  readonly sink: Sink;
  readonly head: Readonly<Record<string, string>>;
  /** Rings when the current file, the directory or the life changed. */
  readonly bell: Bell;
  /** The highest index seen; infinity once the directory is gone. */
  newest: number;
}

const noEntry = ({ task, type }: LogsParameters): GatewayError =>
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

const sizeOf = async (path: string): Promise<number | undefined> => {
  try {
    const stats = await lstat(path);
    return stats.isDirectory() ? undefined : stats.size;
  } catch {
    return undefined; // rotated away since it was listed
  }
};

/** The task's log files now, oldest first. `strict`: a name that is junk is refused as Nomad does. */
const filesNow = async (
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
      const size = index === undefined ? undefined : await sizeOf(`${pinned.directory}/${name}`);
      if (index !== undefined && size !== undefined) files.push({ name, index, size });
    }
  } catch (error) {
    throw listFault(allocation, error);
  }
  return files.sort(byIndex);
};

/** The highest index in a directory; infinity when it is gone, so that the next listing says so. */
const newestIn = (parameters: LogsParameters, seen: SeenDirectory): number => {
  if (seen.state === "missing") return Number.POSITIVE_INFINITY;
  let newest = Number.NEGATIVE_INFINITY;
  for (const name of seen.names) newest = Math.max(newest, logIndex(parameters, name) ?? newest);
  return newest;
};

const tailOf = (session: Session, content: Content, { file, offset }: LogStart): Tail =>
  new Tail({
    handle: content.handle,
    file: `${logsDirectory}/${file.name}`,
    start: offset,
    size: Number(content.stats.size),
    follow: session.parameters.follow,
    sink: session.sink,
    life: session.life,
  });

/**
 * Whether a later file is there to be read. The directory's names are the hint, a listing the answer: a name may be
 * a directory's. True when the directory is gone, so that the next listing says so.
 */
const hasNewer = async (session: Session, index: number): Promise<boolean> => {
  const hint = session.newest;
  if (hint <= index || hint === Number.POSITIVE_INFINITY) return hint > index;
  const files = await filesNow(session.allocation, session.parameters, "lenient");
  if (files.some((file) => file.index > index)) return true;
  if (session.newest === hint) session.newest = index; // not asked again until the names change
  return false;
};

/** What comes after one file: the next index, the same index anew, or nothing. */
type After = "next" | "anew" | "over";

/**
 * Follows one file until a higher index exists. That is looked at before the last drain: a file is complete once
 * the next one is there, so nothing of it is lost.
 */
const followFile = async (session: Session, content: Content, start: LogStart): Promise<After> => {
  const { shared, bell, allocation, parameters } = session;
  const { index } = start.file;
  const tail = tailOf(session, content, start);
  let gone = false;
  const unwatch = shared.files.watch(content.host, (seen) => {
    gone = isGone(seen, content);
    bell.ring();
  });
  try {
    for (;;) {
      const wasGone = gone; // both before the drain
      const isOld = await hasNewer(session, index);
      if (!(await tail.drain())) return "over";
      if (isOld) return "next";
      if (wasGone) {
        const files = await filesNow(allocation, parameters, "lenient");
        if (files.some((file) => file.index > index)) return "next";
        return (await tail.tell("file deleted")) ? "anew" : "over";
      }
      await bell.heard();
    }
  } finally {
    unwatch();
  }
};

/** Undefined when the file went away between listing and opening. */
const openLog = async ({ allocation }: Session, file: LogFile): Promise<Content | undefined> => {
  try {
    return await openContent(allocation, `${logsDirectory}/${file.name}`);
  } catch (error) {
    const isMissing =
      error instanceof PathFault && error.reason.kind === "os" && error.reason.errno === "ENOENT";
    if (isMissing) return undefined;
    throw error;
  }
};

const readFile = async (session: Session, start: LogStart, last: number): Promise<After> => {
  await using content = await openLog(session, start.file);
  if (content === undefined) return "next";
  if (session.parameters.follow) {
    sendHead(session.response, session.head);
    return await followFile(session, content, start); // awaited here: the file is closed on return
  }
  const drained = await tailOf(session, content, start).drain();
  return drained && start.file.index < last ? "next" : "over";
};

/** Reads file after file. `last`: the highest index that is read when not following. */
const readFiles = async (session: Session, first: LogStart, last: number): Promise<void> => {
  const { allocation, parameters } = session;
  let start = first;
  for (;;) {
    const { index } = start.file;
    const after = await readFile(session, start, last);
    if (after === "over") return;
    const files = await filesNow(allocation, parameters, "lenient");
    const file = files.find(
      (one) => one.index > index || (after === "anew" && one.index === index),
    );
    if (file === undefined && parameters.follow) throw noEntry(parameters); // its files are gone: cut
    if (file === undefined || file.index > last) return;
    start = { file, offset: 0 };
  }
};

/** Follows the directory and, in frames, beats; both end with the answer. */
const accompanied = async (session: Session, task: () => Promise<void>): Promise<void> => {
  const { allocation, parameters, shared, bell, response } = session;
  const ends: (() => void)[] = [];
  if (parameters.follow)
    ends.push(
      shared.directories.watch(`${allocation.directory}/${logsDirectory}`, (seen) => {
        session.newest = newestIn(parameters, seen);
        bell.ring();
      }),
    );
  if (!parameters.plain) ends.push(shared.heartbeats(response));
  try {
    await task();
  } finally {
    for (const end of ends) end();
  }
};

/** The checks of Nomad's client, in its order; the answer is where to start. */
const startOf = async (allocation: FilesOf, parameters: LogsParameters) => {
  const { task, origin, offset } = parameters;
  if (allocation.collected)
    throw notFound(`state for allocation ${allocation.id} not found on client`);
  const known = allocation.task(task);
  if (known === undefined) throw invalidRequest(`unknown task name ${goQuote(task)}`);
  if (!known.started) throw notFound(`task ${goQuote(task)} not started yet. No logs available`);
  const files = await filesNow(allocation, parameters, "strict");
  const start = startIn(files, origin, Number(offset));
  const last = files.at(-1)?.index;
  if (start === undefined || last === undefined) throw noEntry(parameters);
  return { start, last: parameters.follow ? Number.POSITIVE_INFINITY : last };
};

/** Streams a task's log; throws the refusal before the head, and whatever reading throws after it. */
export const logs = async (
  allocation: FilesOf,
  parameters: LogsParameters,
  response: ServerResponse,
  signal: AbortSignal,
  shared: Shared,
): Promise<void> => {
  using life = new Life(response, signal);
  const { start, last } = await startOf(allocation, parameters);
  const head = streamHead(parameters.plain ? "text/plain" : "application/json");
  if (response.req.method === "HEAD") {
    response.writeHead(200, head).end();
    return;
  }
  const sink = (parameters.plain ? plainSink : frameSink)(response, life, head);
  const bell = new Bell();
  life.onEnd(bell.ring);
  const newest = start.file.index;
  const session: Session = {
    allocation, parameters, response, shared, life, sink, head, bell, newest,
  }; // biome-ignore format: a row
  await accompanied(session, () => readFiles(session, start, last));
  if (life.over) return;
  if (!response.headersSent) response.writeHead(200, { ...head, "Content-Length": 0 });
  response.end();
};
