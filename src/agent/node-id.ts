/** The node's id: made once, kept in the data directory, the same after every start. */
import { randomUUID } from "node:crypto";
import { mkdir, open, readFile } from "node:fs/promises";
import path from "node:path";
import { errnoOf } from "../errors.ts";
import { isUuid } from "../lib/uuid.ts";

const read = async (file: string): Promise<string | undefined> => {
  try {
    return (await readFile(file, "utf8")).trim();
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
};

const create = async (file: string, id: string): Promise<void> => {
  const handle = await open(file, "wx", 0o600);
  try {
    await handle.writeFile(`${id}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
};

/** Throws when the file holds something else: a node that changed its id would claim its allocations anew. */
export const loadNodeId = async (dataDirectory: string): Promise<string> => {
  await mkdir(dataDirectory, { recursive: true });
  const file = path.join(dataDirectory, "node-id");
  const kept = await read(file);
  if (kept === undefined) {
    const id = randomUUID();
    await create(file, id);
    return id;
  }
  if (!isUuid(kept)) throw new Error(`${file} does not hold a node id (a lower-case UUID)`);
  return kept;
};
