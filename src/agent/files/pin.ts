/**
 * Confinement by what was opened. A place is pinned: on Linux by a descriptor that names it without opening it
 * (`O_PATH`), so that no device or pipe is ever touched and no swapped link matters; the descriptor's real path is
 * compared with the allocation's real directory, and content is read by reopening that very descriptor.
 */
import { type BigIntStats, existsSync, constants as flags } from "node:fs";
import { type FileHandle, open, readlink, realpath, stat } from "node:fs/promises";
import path from "node:path/posix";
import { toBytePath } from "../../lib/percent.ts";
import { PathFault, systemFault } from "./fault.ts";
import { isWithin, type Place } from "./path.ts";

/** A file or directory inside the allocation, held so that it cannot become another. Whoever pins, disposes. */
export interface Pinned extends AsyncDisposable {
  /** Its real path relative to the allocation's directory; "" is the directory itself. */
  readonly inside: string;
  readonly stats: BigIntStats;
  /** A path that leads to it and nowhere else, for listing. */
  readonly directory: string;
  /** Opens it for reading; only for regular files. Closed by who asked. */
  open(): Promise<FileHandle>;
}

export type Pin = (root: string, place: Place) => Promise<Pinned>;

// Linux's O_PATH (asm-generic, the same on every architecture Node runs on); Node has no name for it.
const pathOnly = 0o10_000_000;
const reading = flags.O_RDONLY | flags.O_NONBLOCK | flags.O_NOCTTY; // libuv adds O_CLOEXEC
const maxLinks = 40;

const insideOf = (root: string, real: string): string => {
  if (!isWithin(root, real)) throw new PathFault({ kind: "escape" });
  return path.relative(root, real);
};

const linkOf = async (file: string): Promise<string | undefined> => {
  try {
    return await readlink(toBytePath(file));
  } catch {
    return undefined; // not a link, or not there
  }
};

/** Where a link inside the allocation leads to, as parts to go on with from `root`; undefined leaves the allocation. */
const followed = (root: string, place: Place, at: string, target: string): string[] | undefined => {
  const full = path.isAbsolute(target) ? path.normalize(target) : path.join(at, target);
  const base = [root, place.allocation.directory].find((directory) => isWithin(directory, full));
  return base === undefined ? undefined : path.relative(base, full).split("/");
};

/**
 * True when a link on the way leads out of the allocation. Asked only for a place that could not be pinned: whether
 * something exists outside must not show in the answer.
 */
const leaves = async (root: string, place: Place): Promise<boolean> => {
  let rest = path.relative(place.allocation.directory, place.host).split("/");
  let at = root;
  for (let links = 0; rest.length > 0 && links < maxLinks; ) {
    const [part = "", ...others] = rest;
    const target = await linkOf(path.join(at, part));
    rest = others;
    if (target === undefined) {
      at = path.join(at, part);
      continue;
    }
    links++;
    const parts = followed(root, place, at, target);
    if (parts === undefined) return true;
    rest = [...parts, ...others];
    at = root;
  }
  return false;
};

const osFault = async (root: string, place: Place, cause: unknown): Promise<Error> => {
  if (cause instanceof PathFault) return cause;
  if (await leaves(root, place)) return new PathFault({ kind: "escape" }, { cause });
  return systemFault("stat", place.host, cause);
};

const reopen = async (place: Place, target: string, extra: number): Promise<FileHandle> => {
  try {
    return await open(target, reading | extra);
  } catch (error) {
    throw systemFault("open", place.host, error);
  }
};

/** Linux. Also right when a link is swapped at any moment: the descriptor stays what it is. */
export const pinByDescriptor: Pin = async (root, place) => {
  let held: FileHandle | undefined;
  try {
    held = await open(toBytePath(place.host), pathOnly);
    const { fd } = held;
    const link = `/proc/self/fd/${fd}`;
    const inside = insideOf(root, await readlink(link));
    const stats = await held.stat({ bigint: true });
    const handle = held;
    return {
      inside,
      stats,
      directory: link,
      open: () => reopen(place, link, 0),
      [Symbol.asyncDispose]: () => handle.close(),
    };
  } catch (error) {
    await held?.close();
    throw await osFault(root, place, error);
  }
};

const sameFile = (one: BigIntStats, other: BigIntStats): boolean =>
  one.dev === other.dev && one.ino === other.ino;

/** Elsewhere: by the real path, and what was opened must be what that path still names. */
export const pinByRealPath: Pin = async (root, place) => {
  try {
    const real = await realpath(toBytePath(place.host));
    const inside = insideOf(root, real);
    const stats = await stat(real, { bigint: true });
    if ((await realpath(real)) !== real) throw new PathFault({ kind: "escape" });
    return {
      inside,
      stats,
      directory: real,
      open: async () => {
        const handle = await reopen(place, real, flags.O_NOFOLLOW);
        const same = sameFile(await handle.stat({ bigint: true }), stats);
        if (same && (await realpath(real)) === real) return handle;
        await handle.close();
        throw new PathFault({ kind: "escape" });
      },
      [Symbol.asyncDispose]: async () => {},
    };
  } catch (error) {
    throw await osFault(root, place, error);
  }
};

/** The platform's way. */
export const pin: Pin = existsSync("/proc/self/fd") ? pinByDescriptor : pinByRealPath;
