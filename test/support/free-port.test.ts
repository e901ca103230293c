/** Processes that take ports side by side, as test files do. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";

const each = 200;

/** Tells its ports, and lives until it is told to end. */
const script = `
import { freePort } from ${JSON.stringify(path.join(import.meta.dirname, "free-port.ts"))};
const ports = await Promise.all(Array.from({ length: ${each} }, freePort));
console.log(JSON.stringify(ports));
process.stdin.resume();
`;

test("no port is given twice, however many processes take some at once", async () => {
  const children = Array.from({ length: 4 }, () =>
    spawn(process.execPath, ["--input-type=module", "-e", script], {
      stdio: ["pipe", "pipe", "inherit"],
    }),
  );
  const ended = children.map((child) => once(child, "close"));
  const told = await Promise.all(
    children.map(async ({ stdout }): Promise<number[]> => {
      const [line] = await once(createInterface(stdout), "line");
      return JSON.parse(line);
    }),
  );
  for (const { stdin } of children) stdin.end();
  await Promise.all(ended); // nothing that holds ports keeps a process
  assert.equal(new Set(told.flat()).size, children.length * each);
});
