/** One process a directory, also when many come at once to what a killed one has left. */
import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { until } from "../support/processes.ts";
import type { Heard, Order } from "./hold-process.ts";
import { temporaryDirectory } from "./support.ts";

const processes = 6;
const rounds = 25;
const soonMs = 20;

const startProcesses = async (): Promise<readonly ChildProcess[] & AsyncDisposable> => {
  const file = path.join(import.meta.dirname, "hold-process.ts");
  const children = Array.from({ length: processes }, () => fork(file));
  await Promise.all(children.map((child) => once(child, "spawn")));
  return Object.assign(children, {
    [Symbol.asyncDispose]: async () => {
      await Promise.all(
        children.map(async (child) => {
          const ended = once(child, "exit");
          child.kill("SIGKILL");
          await ended;
        }),
      );
    },
  });
};

test("of many processes that come at once to what a killed one has left, exactly one holds the directory", async () => {
  using root = temporaryDirectory();
  await using children = await startProcesses();
  let heard = children.map((): string[] => []);
  let wanted = "";
  for (const [nth, child] of children.entries())
    child.on("message", ({ directory, word }: Heard) => {
      if (directory === wanted) heard[nth]?.push(word); // who is told late of a next one may hold the one before
    });
  for (let round = 0; round < rounds; round++) {
    const directory = path.join(root.path, String(round));
    mkdirSync(directory);
    writeFileSync(path.join(directory, "lock.4194305.1"), ""); // no process has so high a number
    heard = children.map(() => []);
    wanted = directory;
    const order: Order = { directory, atMs: Date.now() + soonMs };
    for (const child of children) child.send(order);
    const holding = (): number => heard.filter((words) => words.includes("holds")).length;
    await until("each has heard", () => holding() > 0 && heard.every(({ length }) => length > 0));
    assert.equal(holding(), 1, `round ${round}`);
    assert.equal(readdirSync(directory).includes("lock.4194305.1"), false);
  }
});
