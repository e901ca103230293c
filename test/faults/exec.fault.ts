/** Exec at full size: what test/gateway/exec.test.ts shows in small. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { after, before, test } from "node:test";
import { eventually, type Rig, startRig } from "../support/rig.ts";
import { type ExecClient, execClient } from "../support/ws-client.ts";

let rig: Rig;

before(async () => {
  const main = { name: "main", command: "/bin/sleep", args: ["1000"], kill_timeout: "1s" };
  rig = await startRig({
    agents: [{ workloads: [{ job: "shell", group: "main", tasks: [main] }] }],
  });
  await eventually(
    "the task runs",
    () => rig.allocationsOf("shell")[0]?.ClientStatus === "running" || undefined,
  );
});
after(async () => {
  await rig[Symbol.asyncDispose]();
});

const shell = (script: string): ExecClient =>
  execClient({
    url: rig.url,
    allocation: rig.allocation("shell"),
    token: rig.secret("management"),
    task: "main",
    command: ["/bin/sh", "-c", script],
    keep: false,
  });

test("100 MB of output arrive byte for byte, then the exit frame, then close 1000", async () => {
  const size = 100_000_000;
  const block = Buffer.from("0123456789abcdefghijklmnopqrstuvwxyz\n".repeat(27_000));
  const expected = createHash("sha256");
  for (let left = size; left > 0; left -= block.length) expected.update(block.subarray(0, left));
  const client = shell(`yes 0123456789abcdefghijklmnopqrstuvwxyz | head -c ${size}; exit 3`);
  assert.deepEqual(await client.closed, { code: 1000, reason: "" });
  assert.equal(client.stdoutBytes(), size);
  assert.equal(client.stdoutHash(), expected.digest("hex"));
  assert.equal(client.exitCode(), 3);
});

test("50 MB of binary input arrive unchanged", async () => {
  const input = randomBytes(50_000_000);
  const client = shell("sha256sum | tee /dev/stderr");
  await client.opened;
  client.stdin(input);
  client.closeStdin();
  assert.equal((await client.closed).code, 1000);
  const line = `${createHash("sha256").update(input).digest("hex")}  -\n`;
  assert.equal(client.stdoutHash(), createHash("sha256").update(line).digest("hex"));
});

test("1,000 short commands: each exit frame comes before its close 1000", async () => {
  let left = 1_000;
  const one = async (): Promise<void> => {
    while (left-- > 0) {
      const code = left % 250;
      const client = shell(`exit ${code}`);
      assert.deepEqual(await client.closed, { code: 1000, reason: "" });
      assert.equal(client.exitCode(), code);
    }
  };
  await Promise.all(Array.from({ length: 20 }, one));
});
