/** The names in a directory, bounded. */
import { opendir } from "node:fs/promises";
import { failed } from "../../errors.ts";

const maxNames = 65_536;
const namesAtOnce = 256;

/**
 * Names as latin1: one character a byte, whatever the bytes are. A directory with more than 65,536 names is refused
 * rather than cut.
 */
export const namesIn = async (directory: string): Promise<string[]> => {
  const names: string[] = [];
  const entries = await opendir(directory, { encoding: "latin1", bufferSize: namesAtOnce });
  for await (const { name } of entries) {
    names.push(name);
    if (names.length > maxNames)
      throw failed(`the directory has more than ${maxNames} entries; it is not listed`);
  }
  return names;
};

/** The same as text; bytes that are no UTF-8 become U+FFFD. */
export const textNamesIn = async (directory: string): Promise<string[]> =>
  (await namesIn(directory)).map((name) => Buffer.from(name, "latin1").toString());
