/** Small files for their owner alone that are replaced as a whole: after a crash the old text is there or the new one. */
import { open, readFile, rename } from "node:fs/promises";
import path from "node:path";

const mode = 0o600;

/** At once, or in pieces. */
export type WholeText = string | AsyncIterable<string>;

const isAbsent = (error: unknown): boolean =>
  error instanceof Error && "code" in error && error.code === "ENOENT";

/** The text of a file; undefined when there is none. */
export const readIfThere = async (file: string): Promise<string | undefined> => {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
};

const sync = async (name: string): Promise<void> => {
  await using handle = await open(name, "r");
  await handle.sync();
};

const write = async (file: string, text: WholeText): Promise<void> => {
  await using handle = await open(file, "w", mode);
  try {
    await handle.chmod(mode); // what a crash left there keeps its own
    await handle.writeFile(text);
    await handle.sync();
  } catch (error) {
    throw error instanceof Error ? Object.assign(error, { path: file }) : error; // of an open file the system tells no name
  }
};

/** Writes beside the file, then takes its place. Of one file at a time: whoever keeps it sees to that. */
export const replaceFile = async (file: string, text: WholeText): Promise<void> => {
  const fresh = `${file}.new`;
  await write(fresh, text);
  await rename(fresh, file);
  await sync(path.dirname(file));
};
