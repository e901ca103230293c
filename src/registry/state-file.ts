/** A small JSON file that is replaced as a whole. */
import { mkdir, rename } from "node:fs/promises";
import path from "node:path";
import { type Json, parseJson } from "../lib/json.ts";
import { readIfThere, replaceFile, type WholeText } from "../lib/whole-file.ts";

/** Undefined when there is no such file. Throws for one that cannot be read or is no JSON. */
export const readState = async (file: string): Promise<Json | undefined> => {
  const text = await readIfThere(file);
  return text === undefined ? undefined : parseJson(text);
};

export const writeState = async (file: string, text: WholeText): Promise<void> => {
  await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
  await replaceFile(file, text);
};

/** Sets an unreadable file aside, so that it is not lost when the next state is written. */
export const setAside = (file: string): Promise<void> => rename(file, `${file}.unreadable`);
