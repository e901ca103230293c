/** `fs.cat` and `fs.readat`: a file's bytes as they are now, once, with back-pressure. */
import type { BigIntStats } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { type Content, type FilesOf, openContent } from "./content.ts";
import { servedContentType } from "./content-type.ts";
import { entityTag } from "./entity-tag.ts";
import { PathFault } from "./fault.ts";
import { Life } from "./life.ts";

/** Nomad's buffer: what fits whole gets a Content-Length, the rest is chunked. */
const wholeBytes = 2_048;
const blockBytes = 256 * 1024;

const emptyHead = { "Content-Type": "text/plain; charset=utf-8", "Content-Length": 0 };
const contentHead = (beginning: Buffer, stats: BigIntStats) => ({
  ...entityTag(stats),
  "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
  "Content-Type": servedContentType(beginning),
  "X-Content-Type-Options": "nosniff",
  "X-Xss-Protection": "1; mode=block",
});

/** Where to read: both within the file's size at opening, so plain numbers. */
interface Range {
  readonly start: number;
  readonly length: number;
}

const rangeOf = ({ stats }: Content, offset: bigint, limit: bigint): Range => {
  const left = stats.size > offset ? stats.size - offset : 0n;
  const length = limit > 0n && limit < left ? limit : left;
  return { start: length === 0n ? 0 : Number(offset), length: Number(length) };
};

/** Fills the memory from `position` as far as the file goes. */
const fill = async (handle: FileHandle, memory: Buffer, position: number): Promise<Buffer> => {
  let got = 0;
  while (got < memory.length) {
    const { bytesRead } = await handle.read(memory, got, memory.length - got, position + got);
    if (bytesRead === 0) break;
    got += bytesRead;
  }
  return memory.subarray(0, got);
};

/**
 * The range, block after block, each in the memory of the one before: half of what two in turn would take, at the same CPU; the
 * system reads ahead.
 */
async function* blocksOf(
  { handle }: Content,
  { start, length }: Range,
): AsyncGenerator<Buffer, undefined> {
  const memory = Buffer.allocUnsafeSlow(Math.min(blockBytes, length));
  for (let left = length; left > 0; ) {
    const block = await fill(handle, memory.subarray(0, left), start + length - left);
    if (block.length === 0) return;
    left -= block.length;
    yield block;
  }
}

/** Hands a block to the socket; resolves when its memory may be filled again, or the life has ended. */
const handOver = (response: ServerResponse, block: Buffer, life: Life): Promise<void> =>
  new Promise((resolve) => {
    const forget = life.onEnd(resolve);
    response.write(block, () => {
      forget();
      resolve();
    });
  });

const send = async (
  content: Content,
  range: Range,
  response: ServerResponse,
  life: Life,
): Promise<void> => {
  const blocks = blocksOf(content, range);
  const { value: first } = await blocks.next();
  if (life.over) return;
  if (first === undefined) {
    response.writeHead(200, emptyHead).end();
    return;
  }
  const head = contentHead(first, content.stats);
  if (range.length <= wholeBytes) {
    response.writeHead(200, { ...head, "Content-Length": first.length }).end(first);
    return;
  }
  response.writeHead(200, head);
  if (response.req.method !== "HEAD") {
    await handOver(response, first, life);
    for await (const block of blocks) {
      if (life.over) return;
      await handOver(response, block, life);
    }
  }
  if (!life.over) response.end();
};

/** Sends `limit` bytes (all when not above 0) from `offset`. Throws PathFault before the head. */
export const download = async (
  allocation: FilesOf,
  {
    path,
    offset,
    limit,
  }: { readonly path: string; readonly offset: bigint; readonly limit: bigint },
  response: ServerResponse,
  signal: AbortSignal,
): Promise<void> => {
  using life = new Life(response, signal);
  await using content = await openContent(allocation, path);
  if (offset < 0n) throw new PathFault({ kind: "seek", offset, host: content.host });
  await send(content, rangeOf(content, offset, limit), response, life);
};
