/** `serai dev --tunnel`: the same to its user, with agents that nobody could dial. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { allGone, processesOf, ready, serai, temporaryDirectory } from "./support.ts";

/** Inodes of all listening TCP sockets of this machine. */
const listening = (): ReadonlySet<string> =>
  new Set(
    ["/proc/net/tcp", "/proc/net/tcp6"].flatMap((file) =>
      readFileSync(file, "utf8")
        .split("\n")
        .map((line) => line.trim().split(/\s+/))
        .flatMap(([, , , state, , , , , , inode]) =>
          state === "0A" && inode !== undefined ? [inode] : [],
        ),
    ),
  );

const socketsOf = (pid: number): readonly string[] =>
  readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? [];
    } catch {
      return []; // it was closed meanwhile
    }
  });

const isAgent = (pid: number): boolean =>
  readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").includes("agent");

test("serai dev --tunnel: its agent listens nowhere, and its files are read all the same", async () => {
  using directory = temporaryDirectory();
  const file = path.join(directory.path, "workloads.yaml");
  writeFileSync(
    file,
    '- {job: a, group: g, tasks: [{name: t, command: /bin/sh, args: ["-c", "echo here; sleep 600"]}]}\n',
  );
  const argv = ["--json", "--tunnel", "--port", "0", "--admin-port", "0", "--agents", "1"];
  const data = path.join(directory.path, "data");
  const dev = serai(["dev", ...argv, "--workloads", file, "--data-dir", data]);
  const line = await ready(dev);
  const [node] = line.nodes;
  const [allocation] = line.allocations;
  assert.ok(node !== undefined && allocation !== undefined);
  assert.equal(node.address, `${node.ID}.tunnel.invalid:4646`);
  const response = await fetch(
    `${line.url}/v1/client/fs/cat/${allocation.ID}?path=alloc/logs/t.stdout.0`,
    { headers: { "X-Nomad-Token": line.tokens.operator } },
  );
  assert.deepEqual([response.status, await response.text()], [200, "here\n"]);
  const agents = processesOf(directory.path).filter(isAgent);
  const open = listening();
  assert.equal(agents.length, 1);
  for (const pid of agents) {
    const sockets = socketsOf(pid);
    assert.ok(sockets.length > 0, "it holds its tunnel");
    assert.deepEqual(
      sockets.filter((inode) => open.has(inode)),
      [],
    );
  }
  dev.child.kill("SIGTERM");
  assert.equal((await dev.ended).code, 0);
  await allGone(directory.path);
});
