/** A file that begins anew under a reader's eyes. */
import assert from "node:assert/strict";
import { truncateSync } from "node:fs";
import { appendFile, rename, truncate, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { ask, listen, serveFiles, temporaryAllocation, until } from "./support.ts";

const MiB = 2 ** 20;

for (const target of [
  "fs.logs?task=web&type=stdout&follow=true",
  "fs.stream?path=alloc/logs/web.stdout.0",
])
  test(`a slow reader of a file that shrank and grew again is told, and has all of the new bytes: ${target}`, async () => {
    await using allocation = await temporaryAllocation("web");
    const log = allocation.at("alloc/logs/web.stdout.0");
    await writeFile(log, Buffer.alloc(24 * MiB, "old\n"));
    await using server = await serveFiles(allocation);
    await using viewer = await listen(server, target);
    await until(() => viewer.chunks.length > 0);
    viewer.socket.pause();
    await pause(1_000); // what lies between is full
    await truncate(log, 0);
    await pause(1_000); // looked at four times, and told by a watcher
    const fresh = Buffer.alloc(16 * MiB, "new\n"); // more than was read of the old ones
    await appendFile(log, fresh);
    viewer.socket.resume();
    const isLast = new RegExp(`"Offset":${fresh.length}\\}$`);
    await until(() => isLast.test(viewer.chunks.at(-1)?.toString("latin1").slice(-40) ?? ""));
    const data = viewer.data();
    assert.ok(viewer.frames().some(({ FileEvent: event }) => event === "file truncated"));
    assert.ok(data.subarray(data.indexOf("new\n")).equals(fresh));
  });

for (const how of ["truncated", "deleted"])
  test(`a plain reader with a token is cut when the log is ${how}, one without goes on`, async () => {
    await using allocation = await temporaryAllocation("web");
    const log = allocation.at("alloc/logs/web.stdout.0");
    await writeFile(log, "old\n");
    await using server = await serveFiles(allocation);
    const followed = "fs.logs?task=web&type=stdout&follow=true&plain=true";
    await using marked = await listen(server, `${followed}&resume=true`);
    await using plain = await listen(server, followed);
    await until(() => marked.chunks.length === 1 && plain.chunks.length === 1);
    if (how === "truncated") await truncate(log, 0);
    else {
      await writeFile(`${log}.new`, "");
      await rename(`${log}.new`, log);
    }
    await until(() => marked.socket.closed);
    assert.deepEqual(await marked.ended(), { complete: false });
    await appendFile(log, "new\n");
    await until(() => Buffer.concat(plain.chunks).toString() === "old\nnew\n");
    assert.equal(Buffer.concat(marked.chunks).toString(), "old\n");
  });

/** A log that shrinks to its first line between its listing and its opening. */
const shrinking = async () => {
  const allocation = await temporaryAllocation("web");
  const log = allocation.at("alloc/logs/web.stdout.0");
  await writeFile(log, "one\nold\nold\n");
  let looks = 0;
  return {
    ...allocation,
    log,
    get collected() {
      looks += 1;
      if (looks === 2) truncateSync(log, 4); // looked at before each of the two
      return false;
    },
  };
};

test("a log that is truncated between its listing and its opening is read from its beginning, and a follower is told", async () => {
  await using allocation = await shrinking();
  await using server = await serveFiles(allocation);
  await using viewer = await listen(
    server,
    "fs.logs?task=web&type=stdout&follow=true&origin=end&offset=4",
  );
  await until(() => viewer.chunks.length > 0);
  await appendFile(allocation.log, "new\nnew\nnew\n");
  await until(() => viewer.data().toString() === "one\nnew\nnew\nnew\n");
  assert.equal(viewer.frames()[0]?.FileEvent, "file truncated");
});

test("nor is one that is not followed read past its end", async () => {
  await using allocation = await shrinking();
  await using server = await serveFiles(allocation);
  const { body } = await ask(server, "fs.logs?task=web&type=stdout&plain=true&origin=end&offset=4");
  assert.equal(body.toString(), "one\n");
});
