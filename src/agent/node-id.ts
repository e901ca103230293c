/** The node's id: made once, kept in the data directory, the same after every start. */
import { randomUUID } from "node:crypto";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { isUuid } from "../lib/uuid.ts";
import { readIfThere, replaceFile } from "../lib/whole-file.ts";

/** Throws when the file holds something else: a node that changed its id would claim its allocations anew. */
export const loadNodeId = async (dataDirectory: string): Promise<string> => {
  await mkdir(dataDirectory, { recursive: true });
  const file = path.join(dataDirectory, "node-id");
  const kept = (await readIfThere(file))?.trim();
  if (kept === undefined) {
    const id = randomUUID();
    await replaceFile(file, `${id}\n`);
    return id;
  }
  if (!isUuid(kept)) throw new Error(`${file} does not hold a node id (a lower-case UUID)`);
  return kept;
};
