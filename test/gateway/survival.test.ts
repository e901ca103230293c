/** The process survives what callers do to it, and ends at once and aloud when the fault is its own. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { createHome, until } from "../support/processes.ts";
import {
  besieged,
  heldMib,
  lostCallers,
  randomRequests,
  running,
  tornUpgrades,
  unhurt,
} from "../support/siege.ts";

const faults = [
  { name: "an error nobody caught", code: 'throw new Error("injected fault")', kind: "exception" },
  { name: "a rejection nobody handled", code: 'void Promise.reject(new Error("injected fault"))', kind: "rejection" },
]; // biome-ignore format: a table

for (const { name, code, kind } of faults)
  test(`${name} is logged and ends the process with 1, its audit records written`, async () => {
    await using home = createHome();
    const module = path.join(home.directory, "fault.mjs");
    writeFileSync(module, `process.on("SIGUSR2", () => { ${code}; });`);
    const gateway = await home.gateway({}, { node: ["--import", module] });
    const target = `${gateway.url}/v1/client/gc?node_id=11111111-2222-4333-8444-555555555555`;
    const denied = Array.from({ length: 100 }, () => fetch(target, { method: "PUT" }));
    for (const reply of denied) assert.equal((await reply).status, 403);
    gateway.kill("SIGUSR2");
    assert.deepEqual(await gateway.ended, { code: 1, signal: null });
    const last: unknown = JSON.parse(gateway.output.at(-1) ?? "");
    assert.ok(typeof last === "object" && last !== null && "msg" in last && "kind" in last);
    assert.equal(last.msg, "uncaught error, the process ends");
    assert.equal(last.kind, kind);
    assert.match(gateway.output.at(-1) ?? "", /injected fault/);
    assert.equal(home.audit().filter(({ audit }) => audit === "end").length, 100);
  });

test("thousands of random requests, torn upgrades and callers that leave: the same process, and nothing left", async (t) => {
  await using scene = await besieged();
  await t.test("random request lines, headers, bodies and frames", async () => {
    const before = await heldMib(scene.gateway);
    await randomRequests(scene, 20_261_125, 2_000);
    await unhurt(scene);
    const grown = (await heldMib(scene.gateway)) - before;
    assert.ok(grown < 32, `${grown} MiB more`);
  });
  await t.test("upgrades that are reset after 0 to 200 ms", async () => {
    await tornUpgrades(scene, 7, 200);
    await unhurt(scene);
  });
  await t.test("callers that leave in the middle of a follow, a download or an exec", async () => {
    const word = `lost-caller-${process.pid}`;
    await lostCallers(scene, 60, word);
    await unhurt(scene);
    await until("no command of theirs runs on", () => running(word).length === 0);
  });
});
