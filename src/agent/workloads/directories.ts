/** An allocation's directory in Nomad's layout. */
import { chmod, mkdir, rm } from "node:fs/promises";
import path from "node:path";

const everyone = 0o777;
const sticky = 0o1777;
const owner = 0o700;

/** mkdir's mode passes the umask, so it is set again; never on what was there, which may be a link by now. */
const make = async (directory: string, mode: number): Promise<void> => {
  const made = await mkdir(directory, { recursive: true });
  if (made !== undefined) await chmod(directory, mode);
};

export const allocationDirectory = (dataDirectory: string, id: string): string =>
  path.join(dataDirectory, "alloc", id);

export const logsDirectory = (directory: string): string => path.join(directory, "alloc", "logs");

/** The root of all allocations, closed to other users: what lies below is open as Nomad has it. */
export const buildRoot = (dataDirectory: string): Promise<void> =>
  make(path.join(dataDirectory, "alloc"), owner);

/** What the tasks of an allocation share. What is there already stays. */
export const buildShared = async (directory: string): Promise<void> => {
  await make(directory, 0o755);
  await make(path.join(directory, "alloc"), everyone);
  await make(path.join(directory, "alloc", "data"), everyone);
  await make(logsDirectory(directory), everyone);
  await make(path.join(directory, "alloc", "tmp"), sticky);
};

/** One task's own directories. */
export const buildTask = async (directory: string, task: string): Promise<void> => {
  const root = path.join(directory, task);
  await make(root, everyone);
  await make(path.join(root, "local"), everyone);
  await make(path.join(root, "secrets"), owner);
  await make(path.join(root, "private"), owner);
  await make(path.join(root, "tmp"), sticky);
};

/** Removes an allocation's directory. Never follows a link out of it. */
export const removeDirectory = (directory: string): Promise<void> =>
  rm(directory, { recursive: true, force: true, maxRetries: 3 });
