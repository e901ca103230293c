/** A small JSON file that is replaced as a whole: after a crash either the old text or the new one is there. */
import { mkdir, open, readFile, rename } from "node:fs/promises";
import path from "node:path";
import { errnoOf } from "../errors.ts";
import { type Json, parseJson } from "../lib/json.ts";

const mode = 0o600;

/** Undefined when there is no such file. Throws for one that cannot be read or is no JSON. */
export const readState = async (file: string): Promise<Json | undefined> => {
  try {
    return parseJson(await readFile(file, "utf8"));
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
};

const sync = async (name: string): Promise<void> => {
  await using handle = await open(name, "r");
  await handle.sync();
};

/** Writes beside the file, then takes its place. */
export const writeState = async (file: string, text: string): Promise<void> => {
  const folder = path.dirname(file);
  const fresh = `${file}.new`;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  {
    await using handle = await open(fresh, "w", mode);
    await handle.chmod(mode);
    await handle.writeFile(text);
    await handle.sync();
  }
  await rename(fresh, file);
  await sync(folder);
};

/** Sets an unreadable file aside, so that it is not lost when the next state is written. */
export const setAside = (file: string): Promise<void> => rename(file, `${file}.unreadable`);
