/** fs.stream: following one file through growth, truncation, deletion and slow or vanished readers. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { appendFile, open, readdir, rename, truncate, unlink, writeFile } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import fc from "fast-check";
import { createFileHandlers } from "../../../src/agent/files/handlers.ts";
import { GatewayError } from "../../../src/errors.ts";
import { toFrame } from "../../../src/logs/frame.ts";
import { maxFrameBytes } from "../../../src/logs/marks.ts";
import {
  type Allocation,
  ask,
  type FileServer,
  type Frame,
  listen,
  serveFiles,
  temporaryAllocation,
  until,
} from "./support.ts";

let allocation: Allocation;
let server: FileServer;
let serial = 0;

before(async () => {
  allocation = await temporaryAllocation("web");
  server = await serveFiles(allocation);
});

after(async () => {
  await server[Symbol.asyncDispose]();
  await allocation[Symbol.asyncDispose]();
});

const newFile = async (content: string | Buffer): Promise<{ inside: string; host: string }> => {
  const inside = `alloc/data/f${serial++}`;
  await writeFile(allocation.at(inside), content);
  return { inside, host: allocation.at(inside) };
};

const dataOf = (frames: readonly Frame[]): string =>
  Buffer.concat(frames.map(({ Data }) => Buffer.from(Data ?? "", "base64"))).toString();

describe("frames", () => {
  test("leave out what is empty, in Nomad's order", () => {
    const bytes = Buffer.from("hi");
    const none = Buffer.alloc(0);
    const file = 'a"b';
    assert.equal(
      toFrame({ file, bytes, end: 7, event: "file truncated" }),
      '{"Data":"aGk=","File":"a\\"b","FileEvent":"file truncated","Offset":7}',
    );
    assert.equal(
      toFrame({ file: "f", bytes: none, end: 0, event: "file truncated" }),
      '{"File":"f","FileEvent":"file truncated"}',
    );
    assert.equal(
      toFrame({ file: "f", bytes, end: 2, event: undefined }),
      '{"Data":"aGk=","File":"f","Offset":2}',
    );
  });

  test("split a file of any length and start anywhere into whole frames with true offsets", async () => {
    const content = Buffer.alloc(3 * maxFrameBytes + 1234, "0123456789abcdef-");
    const { inside, host } = await newFile(content);
    const edges = [0, 1, maxFrameBytes - 1, maxFrameBytes, maxFrameBytes + 1, 2 * maxFrameBytes];
    const length = fc.oneof(fc.constantFrom(...edges), fc.nat(content.length));
    await fc.assert(
      fc.asyncProperty(length, fc.nat(content.length + 10), async (size, offset) => {
        await writeFile(host, content.subarray(0, size));
        await using viewer = await listen(
          server,
          `fs.stream?path=${inside}&follow=false&offset=${offset}`,
        );
        assert.ok((await viewer.ended()).complete || size <= offset);
        let at = offset;
        for (const frame of viewer.frames()) {
          const data = Buffer.from(frame.Data ?? "", "base64");
          assert.ok(data.length > 0 && data.length <= maxFrameBytes);
          at += data.length;
          assert.equal(frame.Offset, at);
          assert.equal(frame.File, inside);
        }
        assert.ok(viewer.data().equals(content.subarray(Math.min(offset, size), size)));
      }),
      { numRuns: 40 },
    );
  });
});

test("the head comes before any byte, with what keeps proxies from buffering", async () => {
  const { inside } = await newFile("");
  await using viewer = await listen(server, `fs.stream?path=${inside}`);
  const head = await viewer.head();
  assert.match(head, /^HTTP\/1.1 200 OK\r\n/);
  assert.match(head, /\r\nContent-Type: text\/plain; charset=utf-8/i);
  assert.match(head, /\r\nX-Accel-Buffering: no/i);
  assert.match(head, /\r\nTransfer-Encoding: chunked/i);
  assert.equal(viewer.chunks.length, 0);
  await until(() => viewer.chunks.length >= 2);
  assert.deepEqual(viewer.chunks.slice(0, 2).map(String), ["{}", "{}"]);
});

test("what is appended is sent once, in order, and the offset is where it ends", async () => {
  const { inside, host } = await newFile("first\n");
  await using viewer = await listen(server, `fs.stream?path=${inside}`);
  await until(() => viewer.frames().length === 1);
  await appendFile(host, "second\n");
  await until(() => viewer.frames().length === 2);
  assert.deepEqual(viewer.frames(), [
    { Data: "Zmlyc3QK", File: inside, Offset: 6 },
    { Data: "c2Vjb25kCg==", File: inside, Offset: 13 },
  ]);
});

test("many small writes are few frames", async () => {
  const { inside, host } = await newFile("");
  await using viewer = await listen(server, `fs.stream?path=${inside}`);
  await viewer.head();
  const lines = Array.from({ length: 300 }, (_, at) => `line ${at}\n`);
  const startedMs = performance.now();
  for (const line of lines) await appendFile(host, line);
  await until(() => viewer.data().length === lines.join("").length);
  const tookMs = performance.now() - startedMs;
  assert.equal(dataOf(viewer.frames()), lines.join(""));
  assert.ok(
    viewer.frames().length <= tookMs / 200 + 2,
    `${viewer.frames().length} in ${tookMs} ms`,
  );
});

test("origin end without offset sends only what comes later", async () => {
  const { inside, host } = await newFile("old\n");
  await using viewer = await listen(server, `fs.stream?path=${inside}&origin=end&offset=0`);
  await viewer.head();
  await appendFile(host, "new\n");
  await until(() => viewer.frames().length === 1);
  assert.deepEqual(viewer.frames(), [{ Data: "bmV3Cg==", File: inside, Offset: 8 }]);
});

test("an offset far beyond the end waits there", async () => {
  const { inside, host } = await newFile("12345");
  await using viewer = await listen(server, `fs.stream?path=${inside}&offset=8`);
  await viewer.head();
  await appendFile(host, "67");
  await appendFile(host, "89x");
  await until(() => viewer.frames().length === 1);
  assert.deepEqual(viewer.frames(), [{ Data: "OXg=", File: inside, Offset: 10 }]);
  await using far = await listen(server, `fs.stream?path=${inside}&offset=9223372036854775807`);
  assert.match(await far.head(), / 200 /);
});

test("a truncated file starts again at 0, told with its first new bytes", async () => {
  const { inside, host } = await newFile("first line\n");
  await using viewer = await listen(server, `fs.stream?path=${inside}`);
  await until(() => viewer.frames().length === 1);
  await truncate(host, 0);
  await appendFile(host, "new\n");
  await until(() => viewer.data().toString().endsWith("new\n"));
  assert.equal(viewer.frames()[1]?.FileEvent, "file truncated");
  assert.equal(viewer.frames().at(-1)?.Offset, 4);
  assert.equal(dataOf(viewer.frames().slice(1)), "new\n");
});

test("a file truncated to nothing says so without data", async () => {
  const { inside, host } = await newFile("first line\n");
  await using viewer = await listen(server, `fs.stream?path=${inside}`);
  await until(() => viewer.frames().length === 1);
  await truncate(host, 0);
  await until(() => viewer.frames().length === 2);
  assert.deepEqual(viewer.frames()[1], { File: inside, FileEvent: "file truncated" });
});

for (const [how, remove] of [
  ["deleted", (host: string) => unlink(host)],
  ["moved away", (host: string) => rename(host, `${host}.old`)],
  [
    "replaced",
    async (host: string) => {
      await writeFile(`${host}.new`, "other");
      await rename(`${host}.new`, host);
    },
  ],
] as const)
  test(`a file that is ${how} ends the stream after what was written`, async () => {
    const { inside, host } = await newFile("first line\n");
    await using viewer = await listen(server, `fs.stream?path=${inside}`);
    await until(() => viewer.frames().length === 1);
    await appendFile(host, "last\n");
    await remove(host);
    assert.deepEqual(await viewer.ended(), { complete: true });
    assert.equal(dataOf(viewer.frames()), "first line\nlast\n");
    assert.deepEqual(viewer.frames().at(-1), {
      File: inside,
      FileEvent: "file deleted",
      Offset: 16,
    });
  });

test("a fast writer loses nothing", async () => {
  const { inside, host } = await newFile("");
  await using viewer = await listen(server, `fs.stream?path=${inside}`);
  await viewer.head();
  const handle = await open(host, "a");
  const hash = createHash("sha256");
  let total = 0;
  for (let at = 0; at < 400; at++) {
    const block = Buffer.alloc(1 + ((at * 7_919) % 30_000), `${at},`);
    hash.update(block);
    total += block.length;
    await handle.write(block);
  }
  await handle.close();
  await until(() => viewer.data().length === total);
  assert.equal(createHash("sha256").update(viewer.data()).digest("hex"), hash.digest("hex"));
});

test("a reader that stops is not read for, beaten or buffered for beyond one frame and the socket", async () => {
  const size = 24 * 1024 * 1024;
  const { inside } = await newFile(Buffer.alloc(size, "x"));
  await using viewer = await listen(server, `fs.stream?path=${inside}`);
  await viewer.head();
  viewer.socket.pause();
  const rss = process.memoryUsage().arrayBuffers;
  let before = -1;
  await until(async () => {
    const now = viewer.socket.bytesRead;
    const still = now === before;
    before = now;
    await new Promise((resolve) => setTimeout(resolve, 200));
    return still;
  });
  assert.ok(process.memoryUsage().arrayBuffers - rss < 16 * 1024 * 1024);
  assert.ok(viewer.socket.bytesRead < size / 2, "most was never sent");
  viewer.socket.resume();
  await until(
    () => viewer.chunks.at(-1)?.toString("latin1").endsWith(`"Offset":${size}}`) === true,
  );
});

test("an aborted signal cuts the body: no clean end, and no watcher or descriptor is left", async () => {
  const { inside } = await newFile("x");
  await using viewer = await listen(server, `fs.stream?path=${inside}`);
  await until(() => viewer.frames().length === 1);
  server.abort(new GatewayError("draining"));
  assert.deepEqual(await viewer.ended(), { complete: false });
  await until(() => server.live === 0);
});

test("a stream whose signal has aborted before the head is refused with the reason", async () => {
  const { inside } = await newFile("x");
  const signal = AbortSignal.abort(new GatewayError("draining"));
  await using draining = await serveFiles(allocation, createFileHandlers(), signal);
  for (const target of [`fs.stream?path=${inside}`, `fs.cat?path=${inside}`])
    assert.equal((await ask(draining, target)).status, 503, target);
});

test("a HEAD of a followed file is a head alone", async () => {
  const { inside } = await newFile("x");
  const answer = await ask(server, `fs.stream?path=${inside}`, "HEAD");
  assert.deepEqual([answer.status, answer.body.length, answer.complete], [200, 0, true]);
});

const openFiles = async (): Promise<readonly string[]> => await readdir("/proc/self/fd");

test("a thousand viewers that come and go leave nothing open", {
  skip: process.platform !== "linux",
}, async () => {
  const { inside, host } = await newFile("x".repeat(100_000));
  const before = (await openFiles()).length;
  for (let round = 0; round < 20; round++) {
    const viewers = await Promise.all(
      Array.from({ length: 50 }, (_, at) =>
        listen(server, at % 5 === 0 ? `fs.cat?path=${inside}` : `fs.stream?path=${inside}`),
      ),
    );
    await Promise.all(viewers.map((viewer) => viewer.head()));
    if (round % 4 === 0) await appendFile(host, "more");
    for (const viewer of viewers) viewer.socket.resetAndDestroy();
  }
  await until(() => server.live === 0);
  await until(async () => (await openFiles()).length <= before + 2);
});
