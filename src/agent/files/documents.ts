/** `fs.ls` and `fs.stat`: one directory, one file, as documents. Names in secrets are shown, contents never. */
import type { BigIntStats } from "node:fs";
import { lstat } from "node:fs/promises";
import path from "node:path/posix";
import { type FilesOf, pinIn } from "./content.ts";
import { detectContentType, sniffBytes } from "./content-type.ts";
import { entityTag } from "./entity-tag.ts";
import { type FileInfo, goName, toFileInfo } from "./entry.ts";
import { errnoCode, PathFault, systemFault } from "./fault.ts";
import { namesIn } from "./names.ts";
import { placeOf } from "./path.ts";
import type { Pinned } from "./pin.ts";

const statsAtOnce = 16;

const statsOf = async (directory: Buffer, name: Buffer): Promise<BigIntStats | undefined> => {
  try {
    return await lstat(Buffer.concat([directory, name]), { bigint: true });
  } catch (error) {
    if (errnoCode(error) === "ENOENT") return undefined; // removed since it was listed
    throw error;
  }
};

const toBytes = (name: string): Buffer => Buffer.from(name, "latin1");

const entriesOf = async (pinned: Pinned): Promise<readonly FileInfo[]> => {
  const names = (await namesIn(pinned.directory)).map(toBytes).sort(Buffer.compare);
  const directory = Buffer.from(`${pinned.directory}/`);
  const entries: FileInfo[] = [];
  for (let at = 0; at < names.length; at += statsAtOnce) {
    const group = names.slice(at, at + statsAtOnce);
    const stats = await Promise.all(group.map((name) => statsOf(directory, name)));
    for (const [index, name] of group.entries()) {
      const found = stats[index];
      if (found !== undefined) entries.push(toFileInfo(goName(name), found, ""));
    }
  }
  return entries;
};

/** Nomad lists by opening: its words say `open` where a stat would say `stat`. */
const asOpened = (error: unknown, host: string): unknown => {
  if (error instanceof PathFault)
    return error.reason.kind === "os"
      ? new PathFault({ ...error.reason, operation: "open" }, { cause: error })
      : error;
  return error instanceof Error && "syscall" in error ? systemFault("open", host, error) : error;
};

/** The directory's entries; throws PathFault. */
export const list = async (allocation: FilesOf, asked: string): Promise<readonly FileInfo[]> => {
  const { host } = placeOf(allocation, asked);
  try {
    await using pinned = await pinIn(allocation, asked);
    if (!pinned.stats.isDirectory())
      throw new PathFault({ kind: "os", operation: "open", host, errno: "ENOTDIR" });
    return await entriesOf(pinned);
  } catch (error) {
    throw asOpened(error, host);
  }
};

const octets = "application/octet-stream";

const sniffed = async (pinned: Pinned): Promise<string> => {
  if (!pinned.stats.isFile() || pinned.stats.size === 0n) return octets;
  try {
    await using handle = await pinned.open();
    const { bytesRead, buffer } = await handle.read(Buffer.alloc(sniffBytes), 0, sniffBytes, 0);
    return bytesRead === 0 ? octets : detectContentType(buffer.subarray(0, bytesRead));
  } catch {
    return octets; // the type is a kindness: what cannot be read is still described
  }
};

export interface Description {
  readonly info: FileInfo;
  /** What names this version of it. */
  readonly headers: Readonly<Record<string, string>>;
}

/** The file's description, links followed; throws PathFault. */
export const describe = async (allocation: FilesOf, asked: string): Promise<Description> => {
  const { host } = placeOf(allocation, asked);
  await using pinned = await pinIn(allocation, asked);
  const name = path.basename(host);
  const type = name.endsWith(".json") ? "application/json" : await sniffed(pinned);
  const info = toFileInfo(name.toWellFormed(), pinned.stats, type);
  return { info, headers: entityTag(pinned.stats) };
};
