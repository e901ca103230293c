/** What a path says before anything is opened: where it lies in the allocation, and what its words are in a refusal. */
import path from "node:path/posix";
import type { AgentAllocation } from "../ports.ts";
import { PathFault } from "./fault.ts";

/** An asked path after the text rules. */
export interface Place {
  readonly allocation: Pick<AgentAllocation, "directory" | "task">;
  /** As the caller wrote it. */
  readonly asked: string;
  /** Absolute host path, as Nomad's error texts show it. */
  readonly host: string;
}

/** True when `target` is `root` or lies under it; both absolute and clean. */
export const isWithin = (root: string, target: string): boolean =>
  target === root || target.startsWith(root === "/" ? root : `${root}/`);

/** A leading `/` is the allocation's root; `..` may not leave it. Throws an `escape` fault. */
export const placeOf = (
  allocation: Pick<AgentAllocation, "directory" | "task">,
  asked: string,
): Place => {
  const joined = path.join(allocation.directory, asked);
  const host = joined.length > 1 && joined.endsWith("/") ? joined.slice(0, -1) : joined;
  if (!isWithin(allocation.directory, host)) throw new PathFault({ kind: "escape" });
  if (asked.includes("\0"))
    throw new PathFault({ kind: "os", operation: "stat", host, errno: "EINVAL" });
  return { allocation, asked, host };
};

const closedDirectories: ReadonlyMap<string, "secret" | "private"> = new Map([
  ["secrets", "secret"],
  ["private", "private"],
]);

/**
 * Whether a path inside the allocation lies in a task's secrets or private directory. Names compare in any case: on
 * a file system that folds case `Secrets` is the same directory. `alloc` is the shared directory, not a task's.
 */
export const closedDirectoryOf = (
  allocation: Pick<AgentAllocation, "task">,
  inside: string,
): "secret" | "private" | undefined => {
  const [task, directory] = inside.split("/", 2);
  if (task === "alloc" && allocation.task("alloc") === undefined) return undefined;
  return closedDirectories.get(directory?.toLowerCase() ?? "");
};
