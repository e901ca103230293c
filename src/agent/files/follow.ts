/** What `stream` and `logs` share: the head, the beats, what is looked at, and how a followed answer ends. */
import { stat } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { toBytePath } from "../../lib/percent.ts";
import type { Content } from "./content.ts";
import { errnoCode } from "./fault.ts";
import { createHeartbeats, type Heartbeats } from "./heartbeats.ts";
import { textNamesIn } from "./names.ts";
import type { Tail } from "./tail.ts";
import { createWatches, type Watches } from "./watches.ts";

/** A path as a look finds it. */
export type SeenFile =
  | { readonly state: "missing" }
  | { readonly state: "there"; readonly dev: bigint; readonly ino: bigint; readonly size: bigint };

export type SeenDirectory =
  | { readonly state: "missing" }
  | { readonly state: "there"; readonly names: readonly string[] };

/** Shared by all streams of one agent. */
export interface Shared {
  readonly files: Watches<SeenFile>;
  readonly directories: Watches<SeenDirectory>;
  readonly heartbeats: Heartbeats;
}

const missing = { state: "missing" } as const;

/** `task`, or that its path is gone; other faults reject, and are looked at again. */
const orMissing = async <T>(task: Promise<T>): Promise<T | typeof missing> => {
  try {
    return await task;
  } catch (error) {
    const errno = errnoCode(error);
    if (errno === "ENOENT" || errno === "ENOTDIR") return missing;
    throw error;
  }
};

const lookAtFile = async (path: string): Promise<SeenFile> => {
  const { dev, ino, size } = await stat(toBytePath(path), { bigint: true });
  return { state: "there", dev, ino, size };
};

const lookAtDirectory = async (path: string): Promise<SeenDirectory> => ({
  state: "there",
  names: await textNamesIn(path),
});

const isSameFile = (one: SeenFile, other: SeenFile): boolean => {
  if (one.state === "missing" || other.state === "missing") return one.state === other.state;
  return one.dev === other.dev && one.ino === other.ino && one.size === other.size;
};

const isSameDirectory = (one: SeenDirectory, other: SeenDirectory): boolean => {
  if (one.state === "missing" || other.state === "missing") return one.state === other.state;
  return (
    one.names.length === other.names.length &&
    one.names.every((name, at) => name === other.names[at])
  );
};

export const createShared = (): Shared => ({
  files: createWatches<SeenFile>({
    look: (path) => orMissing(lookAtFile(path)),
    isSame: isSameFile,
  }),
  directories: createWatches<SeenDirectory>({
    look: (path) => orMissing(lookAtDirectory(path)),
    isSame: isSameDirectory,
  }),
  heartbeats: createHeartbeats(),
});

/** True when the path no longer names the file that was opened. */
export const isGone = (seen: SeenFile, { stats }: Content): boolean =>
  seen.state === "missing" || seen.dev !== stats.dev || seen.ino !== stats.ino;

/** A hint: what was seen may be older than what was read. */
export const isShorter = (seen: SeenFile, { position }: Tail): boolean =>
  seen.state === "there" && seen.size < position;

/** Nothing before the client may hold a stream back. */
export const streamHead = (type: string) => ({
  "Content-Type": type,
  "X-Accel-Buffering": "no",
});

/** Sends the head now: what follows may take as long as it likes. */
export const sendHead = (
  response: ServerResponse,
  head: Readonly<Record<string, string>>,
): void => {
  if (response.headersSent || response.destroyed) return;
  response.writeHead(200, head);
  response.flushHeaders();
};
