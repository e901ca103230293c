/** A gateway that is told to stop, or ends at once, while its audit records do not get out. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, constants, openSync, readSync, writeSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { createHome, until } from "../support/processes.ts";

const id = "11111111-1111-4111-8111-111111111111";

/** Undefined when the pipe is full, or empty, at this moment. */
const tried = (io: () => number): number | undefined => {
  try {
    return io();
  } catch {
    return undefined;
  }
};

/** Less each time than its patience: two seconds when it ends in order, half of one when at once. */
const ends = [
  ["a gateway that is told to stop", {}, [700], 0],
  ["one that is told twice", { timeouts: { drain_delay: "60s" } }, [100, 100], 1],
] as const;

for (const [whose, settings, waitsMs, expected] of ends)
  test(`records that wait for a busy reader are written before the process ends: ${whose}`, async () => {
    await using home = createHome();
    const pipe = path.join(home.directory, "audit.pipe");
    execFileSync("mkfifo", [pipe]);
    const reader = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
    const filler = openSync(pipe, constants.O_WRONLY | constants.O_NONBLOCK);
    try {
      const gateway = await home.gateway({ audit: { output: pipe }, ...settings });
      while (tried(() => writeSync(filler, ".".repeat(4096))) !== undefined);
      const { status } = await fetch(`${gateway.url}/v1/client/fs/ls/${id}?path=/`, {
        headers: { "x-nomad-token": id },
      });
      assert.equal(status, 403);
      for (const waitMs of waitsMs) {
        gateway.kill("SIGTERM");
        await wait(waitMs);
      }
      let text = "";
      const buffer = Buffer.alloc(2 ** 17);
      const take = (): void => {
        const bytes = tried(() => readSync(reader, buffer)) ?? 0;
        text += buffer.toString("utf8", 0, bytes);
      };
      const taking = setInterval(take, 10);
      const { code } = await gateway.ended;
      clearInterval(taking);
      take();
      const records = text.split("\n").filter((line) => line.includes('"audit":"'));
      assert.deepEqual([code, records.length, gateway.errors], [expected, 2, []]);
    } finally {
      closeSync(reader);
      closeSync(filler);
    }
  });

test("records that no disk takes are told of in the log before the gateway ends", async () => {
  await using home = createHome();
  const gateway = await home.gateway({ audit: { output: "/dev/full" } });
  await fetch(`${gateway.url}/v1/client/fs/ls/${id}?path=/`, { headers: { "x-nomad-token": id } });
  gateway.kill("SIGTERM");
  const line = await gateway.logged("the last audit records could not be written");
  assert.deepEqual([line["failing"], Number(line["bytes"]) > 300], ["ENOSPC", true]);
  assert.equal((await gateway.ended).code, 0);
});

for (const [required, status] of [
  [true, 503],
  [false, 200],
] as const)
  test(`audit records that no disk takes make the gateway ${status} where they are${required ? "" : " not"} required`, async () => {
    await using home = createHome();
    const gateway = await home.gateway({ audit: { output: "/dev/full", required } });
    const headers = { "x-nomad-token": id };
    await fetch(`${gateway.url}/v1/client/fs/ls/${id}?path=/`, { headers });
    const ready = () => fetch(`${gateway.adminUrl}/readyz?verbose`);
    await until("it is told", async () => (await (await ready()).text()).includes("ENOSPC"));
    assert.equal((await ready()).status, status);
    gateway.kill("SIGKILL"); // it would wait for the disk
    await gateway.ended;
  });
