/** fs.logs: a task's log over its rotated files. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { appendFile, mkdir, open, rename, rm, symlink, unlink, writeFile } from "node:fs/promises";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type LogFile, logIndex, startIn } from "../../../src/logs/log-files.ts";
import {
  type Allocation,
  ask,
  type Frame,
  listen,
  serveFiles,
  temporaryAllocation,
  until,
} from "./support.ts";

const logFile = (allocation: Allocation, index: number, task = "web"): string =>
  allocation.at(`alloc/logs/${task}.stdout.${index}`);

const dataOf = (frames: readonly Frame[]): string =>
  Buffer.concat(frames.map(({ Data }) => Buffer.from(Data ?? "", "base64"))).toString();

const framesOf = (body: Buffer): readonly Frame[] => {
  const text = body.toString();
  if (text === "") return [];
  const frames: unknown = JSON.parse(`[${text.replaceAll("}{", "},{")}]`);
  assert.ok(Array.isArray(frames));
  return frames;
};

describe("where an origin and offset point", () => {
  const files: readonly LogFile[] = [
    { name: "a", index: 1, size: 10 },
    { name: "b", index: 2, size: 0 },
    { name: "c", index: 5, size: 7 },
  ];
  // biome-ignore format: a table
  const cases: readonly (readonly [origin: "start" | "end", offset: number, index: number, at: number])[] = [
    ["start", 0, 1, 0],
    ["start", 10, 1, 10],
    ["start", 11, 5, 1],
    ["start", 17, 5, 7],
    ["start", 999, 5, 7],
    ["start", -3, 1, 7],
    ["start", -99, 1, 0],
    ["end", 0, 5, 0],
    ["end", 2, 5, 5],
    ["end", 7, 5, 0],
    ["end", 8, 1, 9],
    ["end", 17, 1, 0],
    ["end", 999, 1, 0],
    ["end", -3, 5, 3],
    ["end", -99, 5, 7],
  ];
  for (const [origin, offset, index, at] of cases)
    test(`${origin}, ${offset} is ${at} of file ${index}`, () => {
      const start = startIn(files, origin, offset);
      assert.deepEqual([start?.file.index, start?.offset], [index, at]);
    });

  test("never is outside a file, whatever the files are", () => {
    const sizes = fc.array(fc.nat(100), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(
        sizes,
        fc.constantFrom("start", "end"),
        fc.integer({ min: -700, max: 700 }),
        (list, origin, offset) => {
          const some = list.map((size, index) => ({ name: "", index, size }));
          const start = startIn(some, origin, offset);
          assert.ok(start && start.offset >= 0 && start.offset <= start.file.size);
          const sum = (files: readonly LogFile[]) =>
            files.reduce((all, file) => all + file.size, 0);
          const position = sum(some.slice(0, start.file.index)) + start.offset;
          if (origin === "start" && offset >= 0)
            assert.equal(position, Math.min(offset, sum(some)));
          if (origin === "end" && offset > 0)
            assert.equal(position, Math.max(0, sum(some) - offset));
        },
      ),
    );
  });

  test("a log's index is what stands behind task and type", () => {
    const logs = { task: "we.b", type: "stdout" } as const;
    assert.equal(logIndex(logs, "we.b.stdout.12"), 12);
    for (const name of [
      "we.b.stderr.1",
      "web.stdout.1",
      "we.b.stdout.x",
      "we.b.stdout.",
      ".we.b.stdout.fifo",
      "xwe.b.stdout.1",
    ])
      assert.equal(logIndex(logs, name), undefined, name);
  });
});

describe("refusals", () => {
  test("come in Nomad's order and words", async () => {
    await using allocation = await temporaryAllocation("web", "later", "../data/x");
    await writeFile(allocation.at("alloc/data/x.stdout.0"), "never");
    await using server = await serveFiles(allocation);
    const told = async (query: string) => {
      const answer = await ask(server, `fs.logs?${query}`);
      return [answer.status, answer.body.toString()];
    };
    assert.deepEqual(await told("task=nope&type=stdout"), [400, 'unknown task name "nope"']);
    assert.deepEqual(await told("task=later&type=stdout"), [
      404,
      'task "later" not started yet. No logs available',
    ]);
    assert.deepEqual(await told("task=web&type=stderr"), [
      404,
      'log entry for task "web" and log type "stderr" not found',
    ]);
    assert.deepEqual(await told("task=..%2Fdata%2Fx&type=stdout"), [
      404,
      'log entry for task "../data/x" and log type "stdout" not found',
    ]);
    await writeFile(allocation.at("alloc/logs/web.stdout.0"), "fine");
    await writeFile(allocation.at("alloc/logs/web.stdout.junk"), "");
    assert.deepEqual(await told("task=web&type=stdout"), [
      500,
      'failed to convert "junk" to a log index: strconv.Atoi: parsing "junk": invalid syntax',
    ]);
    await rm(allocation.at("alloc/logs"), { recursive: true });
    assert.deepEqual(await told("task=web&type=stdout"), [
      500,
      `failed to list entries: open ${allocation.directory}/alloc/logs: no such file or directory`,
    ]);
  });

  test("a task whose name continues another's is no junk", async () => {
    await using allocation = await temporaryAllocation("web", "web.stdout.x");
    await writeFile(logFile(allocation, 0), "mine");
    await writeFile(allocation.at("alloc/logs/web.stdout.x.stdout.0"), "other");
    await using server = await serveFiles(allocation);
    assert.equal(
      (await ask(server, "fs.logs?task=web&type=stdout&plain=true")).body.toString(),
      "mine",
    );
    assert.equal(
      (await ask(server, "fs.logs?task=web.stdout.x&type=stdout&plain=true")).body.toString(),
      "other",
    );
  });

  test("a log file or directory that is a link out of the allocation or to secrets is refused", async () => {
    await using allocation = await temporaryAllocation("web");
    await mkdir(allocation.at("web/secrets"), { recursive: true });
    await writeFile(allocation.at("web/secrets/s"), "SECRET");
    await using server = await serveFiles(allocation);
    const told = async () =>
      (await ask(server, "fs.logs?task=web&type=stdout&plain=true")).body.toString();
    await symlink("/etc/passwd", logFile(allocation, 0));
    assert.equal(await told(), "Path escapes the alloc directory");
    await unlink(logFile(allocation, 0));
    await symlink("../../web/secrets/s", logFile(allocation, 0));
    assert.equal(await told(), "Reading secret file prohibited: alloc/logs/web.stdout.0");
    await rm(allocation.at("alloc/logs"), { recursive: true });
    await symlink("/tmp", allocation.at("alloc/logs"));
    assert.equal(await told(), "failed to list entries: Path escapes the alloc directory");
  });
});

test("not following reads all files in order, by index and not by name", async () => {
  await using allocation = await temporaryAllocation("wéb c+%");
  for (const index of [9, 10, 11])
    await writeFile(logFile(allocation, index, "wéb c+%"), `<${index}>`);
  await using server = await serveFiles(allocation);
  const target = `fs.logs?task=${encodeURIComponent("wéb c+%")}&type=stdout`;
  const framed = await ask(server, target);
  assert.equal(framed.headers["content-type"], "application/json");
  assert.deepEqual(
    framesOf(framed.body).map(({ File, Offset }) => [File, Offset]),
    [
      ["alloc/logs/wéb c+%.stdout.9", 3],
      ["alloc/logs/wéb c+%.stdout.10", 4],
      ["alloc/logs/wéb c+%.stdout.11", 4],
    ],
  );
  const plain = await ask(server, `${target}&plain=true&origin=end&offset=6`);
  assert.equal(plain.headers["content-type"], "text/plain");
  assert.equal(plain.body.toString(), "0><11>");
});

test("a silent plain follow has its head at once and gets no beats", async () => {
  await using allocation = await temporaryAllocation("web");
  await writeFile(logFile(allocation, 0), "");
  await using server = await serveFiles(allocation);
  await using viewer = await listen(server, "fs.logs?task=web&type=stdout&plain=true&follow=true");
  await using framed = await listen(server, "fs.logs?task=web&type=stdout&follow=true");
  assert.match(await viewer.head(), /\r\nContent-Type: text\/plain\r\n/i);
  assert.match(await framed.head(), /\r\nContent-Type: application\/json\r\n/i);
  await until(() => framed.chunks.length === 2);
  assert.equal(viewer.chunks.length, 0);
  await appendFile(logFile(allocation, 0), "line\n");
  await until(() => viewer.chunks.length === 1);
  assert.equal(Buffer.concat(viewer.chunks).toString(), "line\n");
});

test("following moves on with a rotation, after the old file's last bytes", async () => {
  await using allocation = await temporaryAllocation("web");
  await writeFile(logFile(allocation, 3), "three\n");
  await using server = await serveFiles(allocation);
  await using viewer = await listen(server, "fs.logs?task=web&type=stdout&follow=true&origin=end");
  await until(() => viewer.frames().length === 1);
  await appendFile(logFile(allocation, 3), "last\n");
  await writeFile(logFile(allocation, 7), "seven\n");
  await unlink(logFile(allocation, 3));
  await until(() => dataOf(viewer.frames()).endsWith("seven\n"));
  assert.equal(dataOf(viewer.frames()), "three\nlast\nseven\n");
  assert.deepEqual(
    viewer.frames().filter((frame) => frame.FileEvent),
    [],
  );
  assert.deepEqual(viewer.frames().at(-1), {
    Data: "c2V2ZW4K",
    File: "alloc/logs/web.stdout.7",
    Offset: 6,
  });
});

test("a directory or another task's file with a higher number is no rotation", async () => {
  await using allocation = await temporaryAllocation("web");
  await writeFile(logFile(allocation, 0), "a\n");
  await using server = await serveFiles(allocation);
  await using viewer = await listen(server, "fs.logs?task=web&type=stdout&follow=true");
  await until(() => viewer.frames().length === 1);
  await mkdir(logFile(allocation, 9));
  await writeFile(logFile(allocation, 9, "web2"), "");
  await writeFile(allocation.at("alloc/logs/web.stdout.junk"), "");
  await appendFile(logFile(allocation, 0), "b\n");
  await until(() => dataOf(viewer.frames()) === "a\nb\n");
  await writeFile(logFile(allocation, 10), "c\n");
  await until(() => dataOf(viewer.frames()) === "a\nb\nc\n");
});

test("a file that is made anew under the same index is told and read from its beginning", async () => {
  await using allocation = await temporaryAllocation("web");
  await writeFile(logFile(allocation, 0), "old\n");
  await using server = await serveFiles(allocation);
  await using viewer = await listen(server, "fs.logs?task=web&type=stdout&follow=true");
  await until(() => viewer.frames().length === 1);
  await writeFile(logFile(allocation, 99, "x"), "new\n");
  await rename(logFile(allocation, 99, "x"), logFile(allocation, 0));
  await until(() => dataOf(viewer.frames()).endsWith("new\n"));
  assert.deepEqual(
    viewer.frames().map(({ FileEvent }) => FileEvent),
    [undefined, "file deleted", undefined],
  );
});

for (const plain of [false, true])
  test(`a log whose files vanish is cut, not ended (plain ${plain})`, async () => {
    for (const vanish of [
      (allocation: Allocation) => rename(allocation.at("alloc/logs"), allocation.at("alloc/gone")),
      (allocation: Allocation) => unlink(logFile(allocation, 0)),
      (allocation: Allocation) => rm(allocation.directory, { recursive: true }),
    ]) {
      await using allocation = await temporaryAllocation("web");
      await writeFile(logFile(allocation, 0), "line\n");
      await using server = await serveFiles(allocation);
      await using viewer = await listen(
        server,
        `fs.logs?task=web&type=stdout&follow=true&plain=${plain}`,
      );
      await until(() => viewer.chunks.length > 0);
      await vanish(allocation);
      assert.deepEqual(await viewer.ended(), { complete: false });
      assert.doesNotMatch(Buffer.concat(viewer.chunks).toString(), /no such file|not found/);
    }
  });

test("rotation under a fast writer loses nothing, framed or plain", async () => {
  await using allocation = await temporaryAllocation("web");
  await writeFile(logFile(allocation, 0), "");
  await using server = await serveFiles(allocation);
  await using framed = await listen(server, "fs.logs?task=web&type=stdout&follow=true");
  await using plain = await listen(server, "fs.logs?task=web&type=stdout&follow=true&plain=true");
  await Promise.all([framed.head(), plain.head()]);
  const plainBytes = (): number => plain.chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  const hash = createHash("sha256");
  const keep = 4;
  let total = 0;
  for (let index = 0; index < 40; index++) {
    const handle = await open(logFile(allocation, index), "a");
    for (let block = 0; block < 12; block++) {
      const bytes = Buffer.from(`${index}.${block} ${"x".repeat((block * 4_001) % 9_000)}\n`);
      hash.update(bytes);
      total += bytes.length;
      await handle.write(bytes);
    }
    await handle.close();
    const written = total;
    // a logger that rotates by size waits for nobody, but keeps its last files
    await until(() => Math.min(framed.data().length, plainBytes()) >= written - 120_000);
    if (index >= keep) await unlink(logFile(allocation, index - keep));
  }
  const digest = hash.digest("hex");
  const digestOf = (bytes: Buffer) => createHash("sha256").update(bytes).digest("hex");
  await until(() => Math.min(framed.data().length, plainBytes()) >= total);
  assert.equal(digestOf(framed.data()), digest);
  assert.equal(digestOf(Buffer.concat(plain.chunks)), digest);
});

test("many viewers share what is watched, and leave nothing watched", async () => {
  await using allocation = await temporaryAllocation("web");
  await writeFile(logFile(allocation, 0), "line\n");
  await using server = await serveFiles(allocation);
  const viewers = await Promise.all(
    Array.from({ length: 100 }, () => listen(server, "fs.logs?task=web&type=stdout&follow=true")),
  );
  await until(() => viewers.every((viewer) => viewer.frames().length === 1));
  await appendFile(logFile(allocation, 0), "more\n");
  await until(() => viewers.every((viewer) => viewer.data().toString() === "line\nmore\n"));
  await Promise.all(viewers.map((viewer) => viewer[Symbol.asyncDispose]()));
  await until(() => server.live === 0);
});
