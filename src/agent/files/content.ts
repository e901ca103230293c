/** Opens a file of an allocation for reading, with Nomad's checks in Nomad's order; and pins a place for ls and stat. */
import type { BigIntStats } from "node:fs";
import { type FileHandle, realpath } from "node:fs/promises";
import { notFound } from "../../errors.ts";
import type { AgentAllocation } from "../ports.ts";
import { PathFault, systemFault } from "./fault.ts";
import { closedDirectoryOf, type Place, placeOf } from "./path.ts";
import { type Pin, type Pinned, pin } from "./pin.ts";

/** What this folder needs of an allocation. */
export type FilesOf = Pick<AgentAllocation, "id" | "directory" | "task" | "collected">;

const roots = new WeakMap<FilesOf, string>(); // an allocation's directory does not move while it lives

const rootOf = async (allocation: FilesOf, place: Place): Promise<string> => {
  const known = roots.get(allocation);
  if (known !== undefined) return known;
  try {
    const root = await realpath(allocation.directory);
    roots.set(allocation, root);
    return root;
  } catch (cause) {
    throw systemFault("stat", place.host, cause);
  }
};

/** Pins what a path names; throws PathFault. Disposed by the caller. */
export const pinIn = async (
  allocation: FilesOf,
  asked: string,
  how: Pin = pin,
): Promise<Pinned> => {
  const place = placeOf(allocation, asked);
  return how(await rootOf(allocation, place), place);
};

/** An open regular file; disposing closes it. */
export interface Content extends AsyncDisposable {
  readonly handle: FileHandle;
  readonly stats: BigIntStats;
  readonly host: string;
}

const refuseClosed = (allocation: FilesOf, asked: string, inside: string): void => {
  const what = closedDirectoryOf(allocation, inside);
  if (what !== undefined) throw new PathFault({ kind: "closed", what, asked });
};

/**
 * Opens a path's content; throws PathFault, or Nomad's 404 when the allocation was collected. Secrets and private are
 * refused by the name asked for and again by what was opened, so that a link to them is no way in.
 */
export const openContent = async (
  allocation: FilesOf,
  asked: string,
  how: Pin = pin,
): Promise<Content> => {
  if (allocation.collected)
    throw notFound(`state for allocation ${allocation.id} not found on client`);
  const place = placeOf(allocation, asked);
  await using pinned = await how(await rootOf(allocation, place), place);
  if (pinned.stats.isDirectory()) throw new PathFault({ kind: "directory", asked });
  refuseClosed(allocation, asked, place.host.slice(allocation.directory.length + 1));
  refuseClosed(allocation, asked, pinned.inside);
  if (!pinned.stats.isFile()) throw new PathFault({ kind: "irregular", asked });
  const handle = await pinned.open();
  return {
    handle,
    stats: pinned.stats,
    host: place.host,
    [Symbol.asyncDispose]: () => handle.close(),
  };
};
