/** `fs.logs`: a task's log over its rotated files, framed or plain (nomad-http.md §8.7). */
import type { ServerResponse } from "node:http";
import { type LogFile, type LogStart, logIndex } from "../../logs/log-files.ts";
import { type Marks, marksFor } from "../../logs/marks.ts";
import { beginning, logsDirectory, lost, placeOf } from "../../logs/places.ts";
import type { LogsParameters } from "../../parameters.ts";
import { type Content, type FilesOf, openContent } from "./content.ts";
import { PathFault } from "./fault.ts";
import { isGone, isShorter, type SeenDirectory, type Shared, sendHead } from "./follow.ts";
import { Bell, Life } from "./life.ts";
import { beats, formOf, headOf, placeRecord, type Streamed, sinks } from "./log-form.ts";
import { filesNow, noEntry } from "./log-listing.ts";
import { type Begin, beginOf, isStarted } from "./log-start.ts";
import type { Sink } from "./sinks.ts";
import { Tail } from "./tail.ts";

/** Between looks at a task's state. */
const stateLookMs = 250;

/** One answer on its way. */
interface Session {
  readonly form: Streamed;
  readonly allocation: FilesOf;
  readonly parameters: LogsParameters;
  readonly response: ServerResponse;
  readonly shared: Shared;
  readonly life: Life;
  readonly sink: Sink;
  readonly head: Readonly<Record<string, string>>;
  /** Rings when the current file, the directory or the life changed. */
  readonly bell: Bell;
  /** For callers that asked for more than Nomad gives: they are told, or cut, where bytes were lost. */
  readonly marks: Marks | undefined;
  /** The index of the file that was read last. */
  previous: number | undefined;
  /** The highest index seen; infinity once the directory is gone. */
  newest: number;
}

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
    size: Math.max(file.size, Number(content.stats.size)), // truncated since it was listed: as while it is read
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

/** Whether nothing more will be written, and the caller wants no more: a task is dead when its output is in its files. */
const isOver = ({ allocation, parameters }: Session): boolean =>
  parameters.until === "dead" && allocation.task(parameters.task)?.state === "dead";

/** After the last drain of a file that is gone, or whose task is dead: the names that were watched may be older. */
const afterLast = async (
  { allocation, parameters }: Session,
  index: number,
  tail: Tail,
  wasGone: boolean,
): Promise<After> => {
  const files = await filesNow(allocation, parameters, "lenient");
  if (files.some((file) => file.index > index)) return "next";
  return wasGone && (await tail.tell("file deleted")) ? "anew" : "over";
};

/**
 * Follows one file until a higher index exists. That is looked at before the last drain: a file is complete once
 * the next one is there, so nothing of it is lost.
 */
const followFile = async (session: Session, content: Content, start: LogStart): Promise<After> => {
  const { shared, bell } = session;
  const { index } = start.file;
  const tail = tailOf(session, content, start);
  let gone = false;
  const unwatch = shared.files.watch(content.host, (seen) => {
    gone = isGone(seen, content);
    if (!gone && isShorter(seen, tail)) tail.look().then(bell.ring, bell.ring);
    bell.ring();
  });
  try {
    for (;;) {
      const wasGone = gone; // all before the drain
      const wasDead = isOver(session);
      const isOld = await hasNewer(session, index);
      if (!(await tail.drain())) return "over";
      if (isOld) return "next";
      if (wasGone || wasDead) return await afterLast(session, index, tail, wasGone);
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

/** A reader of frames is told what is missing, one of plain bytes is cut: they would look as if nothing were. */
const enter = async (
  session: Session,
  { stats }: Content,
  { file, offset }: LogStart,
): Promise<boolean> => {
  const { form, marks, parameters, previous, sink } = session;
  const { index, name } = file;
  session.previous = index;
  const isGap = previous !== undefined && index > previous + 1;
  const first = { index: (previous ?? 0) + 1, offset: 0 };
  if (isGap && marks && form === "plain") throw lost(parameters, first, []);
  const names = `${logsDirectory}/${parameters.task}.${parameters.type}.${first.index} to ${index - 1}`;
  return await sink.enter({
    file: `${logsDirectory}/${name}`,
    index,
    inode: String(stats.ino),
    offset,
    size: Number(stats.size),
    missing: isGap ? names : undefined,
  });
};

const readFile = async (session: Session, start: LogStart, last: number): Promise<After> => {
  await using content = await openLog(session, start.file);
  if (content === undefined && session.marks && session.previous === undefined)
    throw lost(session.parameters, placeOf(start), []);
  if (content === undefined) return "next";
  if (session.parameters.follow) sendHead(session.response, session.head);
  if (!(await enter(session, content, start))) return "over";
  if (session.parameters.follow) {
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
  const { form, allocation, parameters, shared, bell, response } = session;
  const ends: (() => void)[] = [];
  if (parameters.follow)
    ends.push(
      shared.directories.watch(`${allocation.directory}/${logsDirectory}`, (seen) => {
        session.newest = newestIn(parameters, seen);
        bell.ring();
      }),
    );
  if (form !== "plain") ends.push(shared.heartbeats(response, beats[form]));
  if (parameters.until !== undefined) {
    const looking = setInterval(bell.ring, stateLookMs); // no event tells of a task's state
    ends.push(() => clearInterval(looking));
  }
  try {
    await task();
  } finally {
    for (const end of ends) end();
  }
};

/** Waits until the task has started, with the head sent; false when the answer has ended, or the task is dead unstarted. */
const started = async (session: Session): Promise<boolean> => {
  const { allocation, parameters, life } = session;
  sendHead(session.response, session.head);
  while (!life.over && !isOver(session)) {
    if (isStarted(allocation, parameters)) return true;
    await life.pause(stateLookMs);
  }
  return !life.over && isStarted(allocation, parameters);
};

/** Undefined: the task is to be waited for. */
const beginNow = async (
  allocation: FilesOf,
  parameters: LogsParameters,
  marks: Marks | undefined,
): Promise<Begin | undefined> =>
  parameters.await !== undefined && !isStarted(allocation, parameters)
    ? undefined
    : beginOf(allocation, parameters, marks?.resumed);

const read = async (session: Session, begun: Begin | undefined): Promise<void> => {
  const { allocation, parameters, marks } = session;
  if (begun === undefined && !(await started(session))) return;
  const { start, last } =
    begun ?? (await beginOf(allocation, parameters, marks?.resumed ?? beginning));
  session.newest = Math.max(session.newest, start.file.index);
  await readFiles(session, start, last);
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
  const marks = marksFor(allocation, parameters);
  const begin = await beginNow(allocation, parameters, marks);
  const form = formOf(parameters, response);
  const head = headOf(form, parameters, marks, begin);
  if (response.req.method === "HEAD") {
    response.writeHead(200, head).end();
    return;
  }
  if (form === "place") {
    response.writeHead(200, head).end(placeRecord(begin));
    return;
  }
  const sink = sinks[form](response, life, head, marks);
  const bell = new Bell();
  life.onEnd(bell.ring);
  const session: Session = {
    form, allocation, parameters, response, shared, life, sink, head, bell, marks, previous: undefined, newest: Number.NEGATIVE_INFINITY,
  }; // biome-ignore format: a row
  await accompanied(session, () => read(session, begin));
  if (life.over) return;
  if (!response.headersSent) response.writeHead(200, { ...head, "Content-Length": 0 });
  response.end();
};
