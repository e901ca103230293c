/** A small JSON file that is replaced as a whole: a list, and maybe more. */
import { mkdir, rename } from "node:fs/promises";
import path from "node:path";
import { isJsonObject, type Json, type JsonObject, parseJson } from "../lib/json.ts";
import { fileReason } from "../lib/text-file.ts";
import { readIfThere, replaceFile, type WholeText } from "../lib/whole-file.ts";
import type { Log } from "../ports.ts";

interface Saved<T> {
  readonly items: readonly T[];
  /** All that the file holds. */
  readonly state: JsonObject;
}

const stateWith = (text: string, list: string): { state: JsonObject; all: readonly Json[] } => {
  const state = parseJson(text);
  const all = isJsonObject(state) ? state[list] : undefined;
  if (!isJsonObject(state) || !Array.isArray(all)) throw new SyntaxError(`it holds no ${list}`);
  return { state, all };
};

/**
 * The sound items of `list`; undefined without a file. One that holds something else is set aside, so that it is not lost when
 * the next state is written. Throws when it cannot be read or set aside: whoever starts then would write over it.
 */
export const readState = async <T>(
  { file, log }: { readonly file: string; readonly log: Log },
  list: "Nodes" | "Stops",
  itemOf: (value: Json) => T | undefined,
): Promise<Saved<T> | undefined> => {
  try {
    const text = await readIfThere(file);
    if (text === undefined) return undefined;
    try {
      const { state, all } = stateWith(text, list);
      const items = all.map(itemOf).filter((item) => item !== undefined);
      if (items.length < all.length)
        log.warn({ file, list, dropped: all.length - items.length }, "saved items are not valid");
      return { items, state };
    } catch (err) {
      const aside = `${file}.unreadable`;
      await rename(file, aside);
      log.error({ err, file: aside }, "a state file is not sound and was set aside");
      return undefined;
    }
  } catch (cause) {
    throw new Error(`the state file ${file} cannot be read: ${fileReason(cause)}`, { cause });
  }
};

export const writeState = async (file: string, text: WholeText): Promise<void> => {
  await mkdir(path.dirname(file), { recursive: true, mode: 0o700 });
  await replaceFile(file, text);
};
