/** fs.cat and fs.readat: bytes to the byte, pieces, slow and vanished readers, live files. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { appendFile, open, readdir, readlink, truncate, writeFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { GatewayError } from "../../../src/errors.ts";
import {
  type Allocation,
  ask,
  type FileServer,
  listen,
  serveFiles,
  temporaryAllocation,
  until,
} from "./support.ts";

const inside = "alloc/data/big";
const content = randomBytes(1_500_000);
let allocation: Allocation;
let server: FileServer;

before(async () => {
  allocation = await temporaryAllocation();
  await writeFile(allocation.at(inside), content);
  server = await serveFiles(allocation);
});

after(async () => {
  await server[Symbol.asyncDispose]();
  await allocation[Symbol.asyncDispose]();
});

test("any offset and limit give exactly those bytes", async () => {
  const edge = fc.constantFrom(
    0,
    1,
    511,
    512,
    2_047,
    2_048,
    2_049,
    262_143,
    262_144,
    262_145,
    1_500_000,
  );
  const number = fc.oneof(edge, fc.nat(content.length + 5));
  await fc.assert(
    fc.asyncProperty(number, fc.oneof(number, fc.constant(-1)), async (offset, limit) => {
      const answer = await ask(server, `fs.readat?path=${inside}&offset=${offset}&limit=${limit}`);
      const end = limit > 0 ? offset + limit : content.length;
      const expected = content.subarray(offset, end);
      assert.ok(answer.body.equals(expected), `${answer.body.length} of ${expected.length}`);
      const length = expected.length <= 2_048 ? String(expected.length) : undefined;
      assert.equal(answer.headers["content-length"], length);
      assert.equal(answer.complete, true);
    }),
    { numRuns: 60 },
  );
});

test("a file read in pieces, resumed where it stopped, is the same file", async () => {
  const hash = createHash("sha256");
  let offset = 0;
  for (let size = 1; offset < content.length; size = (size * 3 + 7) % 200_000) {
    const piece = await ask(server, `fs.readat?path=${inside}&offset=${offset}&limit=${size + 1}`);
    hash.update(piece.body);
    offset += piece.body.length;
  }
  assert.equal(hash.digest("hex"), createHash("sha256").update(content).digest("hex"));
});

test("a sparse file of 5 GiB is read at its end, and beyond it is empty", async () => {
  const size = 5 * 1024 ** 3;
  const handle = await open(allocation.at("alloc/data/sparse"), "w");
  await handle.write("tail", size);
  await handle.close();
  const tail = await ask(server, `fs.readat?path=alloc/data/sparse&offset=${size}&limit=100`);
  assert.equal(tail.body.toString(), "tail");
  const limited = await ask(server, `fs.readat?path=alloc/data/sparse&offset=${size - 2}&limit=4`);
  assert.equal(limited.body.toString("latin1"), "\0\0ta");
  for (const offset of [String(size + 4), "9007199254740993", "9223372036854775807"]) {
    const beyond = await ask(server, `fs.readat?path=alloc/data/sparse&offset=${offset}`);
    assert.deepEqual([beyond.status, beyond.headers["content-length"]], [200, "0"], offset);
  }
});

test("a file that grows while it is read is sent as it was when it was opened", async () => {
  await writeFile(allocation.at("alloc/data/live"), Buffer.alloc(8_000_000, "a"));
  await using viewer = await listen(server, "fs.cat?path=alloc/data/live");
  await viewer.head();
  viewer.socket.pause();
  await appendFile(allocation.at("alloc/data/live"), "b".repeat(100_000));
  viewer.socket.resume();
  assert.deepEqual(await viewer.ended(), { complete: true });
  const body = Buffer.concat(viewer.chunks);
  assert.equal(body.length, 8_000_000);
  assert.equal(body.includes("b"), false);
});

test("a file that shrinks while it is read ends where it ends", async () => {
  const file = allocation.at("alloc/data/shrinks");
  await writeFile(file, Buffer.alloc(30_000_000, "a"));
  await using viewer = await listen(server, "fs.cat?path=alloc/data/shrinks");
  await viewer.head();
  viewer.socket.pause();
  await truncate(file, 10);
  viewer.socket.resume();
  assert.deepEqual(await viewer.ended(), { complete: true });
  assert.ok(Buffer.concat(viewer.chunks).length < 30_000_000);
});

const openPaths = async (): Promise<readonly string[]> => {
  const links = (await readdir("/proc/self/fd")).map((fd) =>
    readlink(`/proc/self/fd/${fd}`).catch(() => ""),
  );
  return Promise.all(links);
};

test("a reader that stops holds one block; when it leaves, its file is closed", {
  skip: process.platform !== "linux",
}, async () => {
  const file = allocation.at("alloc/data/slow");
  await writeFile(file, Buffer.alloc(64 * 1024 * 1024, "a"));
  const before = process.memoryUsage().arrayBuffers;
  await using viewer = await listen(server, "fs.cat?path=alloc/data/slow");
  await viewer.head();
  viewer.socket.pause();
  await until(async () => (await openPaths()).includes(file));
  let last = -1;
  await until(async () => {
    const now = viewer.socket.bytesRead;
    await new Promise((resolve) => setTimeout(resolve, 50));
    const still = now === last;
    last = now;
    return still;
  });
  assert.ok(process.memoryUsage().arrayBuffers - before < 24 * 1024 * 1024);
  assert.equal(server.live, 1);
  viewer.socket.resetAndDestroy();
  await until(() => server.live === 0);
  assert.equal((await openPaths()).includes(file), false);
});

test("a download that is aborted is cut, never ended", async () => {
  await writeFile(allocation.at("alloc/data/cut"), Buffer.alloc(64 * 1024 * 1024, "a"));
  await using viewer = await listen(server, "fs.cat?path=alloc/data/cut");
  await viewer.head();
  viewer.socket.pause();
  server.abort(new GatewayError("right_ended"));
  viewer.socket.resume();
  assert.deepEqual(await viewer.ended(), { complete: false });
  await until(() => server.live === 0);
});

test("HEAD of a large file sends no body", async () => {
  const answer = await ask(server, `fs.cat?path=${inside}`, "HEAD");
  assert.deepEqual([answer.status, answer.body.length], [200, 0]);
  assert.equal(
    answer.headers["content-security-policy"],
    "default-src 'none'; style-src 'unsafe-inline'; sandbox",
  );
});
