/** A followed log that is taken up again where it broke, that waits for its task, and that ends with it. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { appendFile, rename, truncate, writeFile } from "node:fs/promises";
import { describe, test } from "node:test";
import type { AgentTask } from "../../../src/agent/ports.ts";
import {
  type Allocation,
  ask,
  type Frame,
  type Listener,
  listen,
  serveFiles,
  temporaryAllocation,
  until,
} from "./support.ts";

const sha = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
const logFile = (allocation: Allocation, index: number, type = "stdout"): string =>
  allocation.at(`alloc/logs/web.${type}.${index}`);
const followed = "fs.logs?task=web&type=stdout&follow=true";

interface Marked extends Frame {
  readonly Resume?: string;
  readonly Lost?: string;
}
const framesOf = (viewer: Listener): readonly Marked[] => viewer.frames();
const headToken = async (viewer: Listener): Promise<string> =>
  /x-serai-resume: (\S+)/i.exec(await viewer.head())?.[1] ?? assert.fail("no token in the head");

/** What a caller keeps of the log: its bytes, the last token, and the bytes since. */
class Kept {
  readonly parts: Buffer[] = [];
  token = "true";
  since = 0;

  get query(): string {
    return this.token === "true"
      ? "resume=true"
      : `resume=${this.token}${this.since > 0 ? `&skip=${this.since}` : ""}`;
  }

  take(data: Buffer): void {
    this.parts.push(data);
    this.since += data.length;
  }

  begin(token: string): void {
    // a head's token is of where the answer begins: behind what was skipped
    this.token = token;
    this.since = 0;
  }

  frames(frames: readonly Marked[]): void {
    for (const { Data: data, Resume: token } of frames) {
      if (data !== undefined) this.take(Buffer.from(data, "base64"));
      if (token !== undefined) this.begin(token);
    }
  }
}

/** Numbered lines over rotated files, as fast as they can be written; the oldest are deleted. */
const write = async (allocation: Allocation, lines: number): Promise<Buffer> => {
  const all: Buffer[] = [];
  let index = 0;
  let size = 0;
  for (let at = 0; at < lines; at += 40) {
    const piece = Buffer.from(
      Array.from({ length: 40 }, (_, n) => `${at + n} ${"x".repeat((at * 7 + n) % 300)}\n`).join(
        "",
      ),
    );
    all.push(piece);
    await appendFile(logFile(allocation, index), piece);
    size += piece.length;
    if (size < 300_000) continue;
    size = 0;
    index++;
    await writeFile(logFile(allocation, index), "");
  }
  return Buffer.concat(all);
};

for (const plain of [false, true])
  test(`any cuts under a fast writer with rotations: no byte is lost or doubled (plain ${plain})`, async () => {
    await using allocation = await temporaryAllocation("web");
    await writeFile(logFile(allocation, 0), "");
    await using server = await serveFiles(allocation);
    const kept = new Kept();
    const written = write(allocation, 12_000);
    let whole: Buffer | undefined;
    void written.then((bytes) => {
      whole = bytes;
    });
    const have = (): number => kept.parts.reduce((sum, { length }) => sum + length, 0);
    for (let cuts = 0; whole === undefined || have() < whole.length; cuts++) {
      assert.ok(cuts < 500, "each piece brings it on");
      await using viewer = await listen(
        server,
        `${followed}&${kept.query}${plain ? "&plain=true" : ""}`,
      );
      kept.begin(await headToken(viewer));
      const enough = 1 + (cuts % 7);
      const seen = (): number => (plain ? Buffer.concat(viewer.chunks) : viewer.data()).length;
      await until(
        () =>
          viewer.chunks.filter((chunk) => chunk.toString() !== "{}").length >= enough ||
          have() + seen() === whole?.length,
      );
      viewer.socket.destroy();
      if (plain) for (const chunk of viewer.chunks) kept.take(chunk);
      else kept.frames(framesOf(viewer));
    }
    assert.equal(have(), whole.length);
    assert.equal(sha(Buffer.concat(kept.parts)), sha(whole));
    await written;
  });

test("frames are Nomad's alone for who does not ask, and have tokens for who does", async () => {
  await using allocation = await temporaryAllocation("web");
  await writeFile(logFile(allocation, 3), "one\n");
  await using server = await serveFiles(allocation);
  await using nomad = await listen(server, followed);
  await using ours = await listen(server, `${followed}&resume=true`);
  await until(() => nomad.frames().length === 1 && ours.frames().length === 2);
  assert.doesNotMatch(await nomad.head(), /x-serai-resume/i);
  assert.deepEqual(framesOf(ours)[0], framesOf(nomad)[0]);
  assert.deepEqual(Object.keys(framesOf(ours)[1] ?? {}), ["Resume"]);
});

describe("a token that leads nowhere", () => {
  const tokenOf = async (allocation: Allocation): Promise<string> => {
    await using server = await serveFiles(allocation);
    await using viewer = await listen(server, `${followed}&resume=true`);
    await until(() => viewer.frames().length >= 2);
    return framesOf(viewer).findLast(({ Resume: token }) => token)?.Resume ?? assert.fail();
  };
  const answer = async (allocation: Allocation, query: string) => {
    await using server = await serveFiles(allocation);
    const { status, body } = await ask(server, `fs.logs?task=web&${query}`);
    return { status, text: body.toString() };
  };

  test("is refused when it is none, or another log's: 400", async () => {
    await using allocation = await temporaryAllocation("web");
    await writeFile(logFile(allocation, 0), "one\n");
    await writeFile(logFile(allocation, 0, "stderr"), "one\n");
    const token = await tokenOf(allocation);
    const longer = `${token}${"A".repeat(1000)}`;
    for (const odd of ["false", "x", "../..", token.slice(3), token.slice(0, -9), longer, "%00"]) {
      const { status, text } = await answer(allocation, `type=stdout&resume=${odd}`);
      assert.equal(status, 400, odd);
      assert.match(text, /^resume: this is no token of serai's/);
    }
    const other = await answer(allocation, `type=stderr&resume=${token}`);
    assert.equal(other.status, 400);
    assert.match(other.text, /^resume: this token is of another log/);
  });

  test("is refused with what cannot be: skip, until and await", async () => {
    await using allocation = await temporaryAllocation("web");
    await writeFile(logFile(allocation, 0), "one\n");
    const token = await tokenOf(allocation);
    for (const [query, words] of [
      [`resume=${token}&skip=1`, /^skip: the log has no 1 bytes behind/],
      [`resume=${token}&skip=-1`, /^skip counts/],
      ["skip=1", /^skip counts/],
      ["resume=true&skip=1", /^skip counts/],
      ["until=dead", /follow=true/],
      ["await=start", /follow=true/],
      ["follow=true&until=over", /^until must be dead/],
      ["follow=true&await=x", /^await must be start/],
    ] as const) {
      const { status, text } = await answer(allocation, `type=stdout&${query}`);
      assert.equal(status, 400, query);
      assert.match(text, words);
    }
  });

  const losses: readonly (readonly [string, (allocation: Allocation) => Promise<unknown>])[] = [
    ["rotated away", (allocation) => rename(logFile(allocation, 0), logFile(allocation, 4))],
    ["made shorter", (allocation) => truncate(logFile(allocation, 0), 1)],
    ["replaced", async (allocation) => {
      await writeFile(allocation.at("alloc/logs/new"), "another log\n");
      await rename(allocation.at("alloc/logs/new"), logFile(allocation, 0));
    }],
  ]; // biome-ignore format: a table
  for (const [name, lose] of losses)
    test(`says what is lost when its file was ${name}: 410`, async () => {
      await using allocation = await temporaryAllocation("web");
      await writeFile(logFile(allocation, 0), "one\n");
      const token = await tokenOf(allocation);
      await lose(allocation);
      const { status, text } = await answer(allocation, `type=stdout&resume=${token}`);
      assert.equal(status, 410);
      assert.match(text, /^the log is lost from byte 4 of alloc\/logs\/web\.stdout\.0 on: /);
    });

  test("says what is lost when a file is missing among the bytes that were skipped: 410", async () => {
    await using allocation = await temporaryAllocation("web");
    await writeFile(logFile(allocation, 0), "one\n");
    const token = await tokenOf(allocation);
    await writeFile(logFile(allocation, 1), "two\n");
    await writeFile(logFile(allocation, 3), "four\n");
    const query = `type=stdout&plain=true&resume=${token}&skip=5`;
    const { status, text } = await answer(allocation, query);
    assert.equal(status, 410);
    assert.match(text, /^the log is lost from byte 4 /);
    await rename(logFile(allocation, 3), logFile(allocation, 2));
    const whole = await answer(allocation, query);
    assert.deepEqual(whole, { status: 200, text: "our\n" });
  });
});

test("files that vanish before they are read: told in frames, cut when plain", async () => {
  await using allocation = await temporaryAllocation("web");
  await writeFile(logFile(allocation, 0), "one\n");
  await using server = await serveFiles(allocation);
  await using framed = await listen(server, `${followed}&resume=true`);
  await using plain = await listen(server, `${followed}&resume=true&plain=true`);
  await until(() => framed.frames().length >= 2 && plain.chunks.length > 0);
  await writeFile(logFile(allocation, 3), "four\n");
  await until(() => framesOf(framed).some(({ Lost: lost }) => lost !== undefined));
  await until(() => framed.data().toString() === "one\nfour\n");
  const at = framesOf(framed).findIndex(({ Lost: lost }) => lost !== undefined);
  assert.equal(framesOf(framed)[at]?.Lost, "alloc/logs/web.stdout.1 to 2");
  assert.equal(framesOf(framed)[at + 1]?.File, "alloc/logs/web.stdout.3");
  assert.equal((await plain.ended()).complete, false);
});

/** An allocation whose task's life the test leads. */
const led = async () => {
  const allocation = await temporaryAllocation("web");
  const task = allocation.task("web") ?? assert.fail();
  const life: { state: AgentTask["state"]; started: boolean } = { state: "pending", started: false };
  return { ...allocation, life, task: (name: string) => (name === "web" ? { ...task, ...life } : undefined) };
}; // biome-ignore format: a row

describe("until=dead", () => {
  for (const plain of [false, true])
    test(`ends when the task is dead and all was read, also what was rotated last (plain ${plain})`, async () => {
      await using allocation = await led();
      Object.assign(allocation.life, { state: "running", started: true });
      await writeFile(logFile(allocation, 0), "one\n");
      await using server = await serveFiles(allocation);
      await using viewer = await listen(
        server,
        `${followed}&until=dead${plain ? "&plain=true" : ""}`,
      );
      await until(() => viewer.chunks.length > 0);
      await appendFile(logFile(allocation, 0), "two\n");
      await writeFile(logFile(allocation, 1), "three\n");
      allocation.life.state = "dead";
      assert.equal((await viewer.ended()).complete, true);
      const data = plain ? Buffer.concat(viewer.chunks) : viewer.data();
      assert.equal(data.toString(), "one\ntwo\nthree\n");
    });

  test("ends at once when the task was dead before; without it nothing ends", async () => {
    await using allocation = await led();
    Object.assign(allocation.life, { state: "dead", started: true });
    await writeFile(logFile(allocation, 0), "one\n");
    await using server = await serveFiles(allocation);
    await using other = await listen(server, followed);
    await using viewer = await listen(server, `${followed}&until=dead`);
    assert.equal((await viewer.ended()).complete, true);
    assert.equal(viewer.data().toString(), "one\n");
    await until(() => other.frames().length === 1);
    assert.equal(server.live, 1);
  });
});

describe("await=start", () => {
  test("has its head and beats before the task starts, and then all of the log", async () => {
    await using allocation = await led();
    await using server = await serveFiles(allocation);
    await using viewer = await listen(server, `${followed}&await=start&origin=end`);
    const token = await headToken(viewer);
    await until(() => viewer.chunks.some((chunk) => chunk.toString() === "{}"));
    await writeFile(logFile(allocation, 0), "first\n");
    Object.assign(allocation.life, { state: "running", started: true });
    await until(() => viewer.data().toString() === "first\n");
    viewer.socket.destroy();
    await using again = await listen(server, `${followed}&resume=${token}&skip=2`);
    await until(() => again.data().toString() === "rst\n");
  });

  test("ends with until=dead when the task dies unstarted, and waits for no task that is none", async () => {
    await using allocation = await led();
    await using server = await serveFiles(allocation);
    await using viewer = await listen(server, `${followed}&await=start&until=dead`);
    await viewer.head();
    allocation.life.state = "dead";
    assert.equal((await viewer.ended()).complete, true);
    const none = await ask(server, "fs.logs?task=x&type=stdout&follow=true&await=start");
    assert.deepEqual([none.status, none.body.toString()], [400, 'unknown task name "x"']);
  });

  test("is cut when the allocation is collected meanwhile", async () => {
    await using allocation = await led();
    await using server = await serveFiles(allocation);
    await using viewer = await listen(server, `${followed}&await=start`);
    await viewer.head();
    allocation.collected = true;
    assert.equal((await viewer.ended()).complete, false);
  });
});
