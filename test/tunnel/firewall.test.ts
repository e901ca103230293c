/** A real firewall: the agent's side admits nothing, the gateway's one port is all that it can dial, and everything works. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { isJsonObject, parseJson } from "../../src/lib/json.ts";
import {
  agentHost,
  dialled,
  gatewayHost,
  listeningAround,
  publicPort,
  whyNoFirewall,
} from "../support/namespaces.ts";
import { shellWorkload, until } from "../support/processes.ts";
import { type Asked, adminPort, startWalled, type Walled } from "../support/walled.ts";

const whyNot = whyNoFirewall();
const mustRun = process.env["CI"] === "1" && process.getuid?.() === 0;
if (mustRun) assert.equal(whyNot, undefined, whyNot);

const script =
  "trap 'echo got the signal' USR1; echo hello > $NOMAD_ALLOC_DIR/data/file; n=0; while :; do n=$((n+1)); echo line $n; sleep 0.05; done";

describe("behind a firewall", { skip: whyNot ?? false }, () => {
  let world: Walled;
  let allocation = "";

  before(async () => {
    world = await startWalled([
      shellWorkload("web", script),
      shellWorkload("short", "exec sleep 1000"),
    ]);
    allocation = await world.running("web");
    await until("its log has begun", async () => (await logs("")).includes("line 2"));
  });
  after(async () => {
    await world[Symbol.asyncDispose]();
  });

  const logs = async (more: string): Promise<string> =>
    (await world.ask(`/v1/client/fs/logs/${allocation}?task=main&type=stdout&plain=true${more}`))
      .text;

  test("nothing listens on the agent's side, and of the gateway's side two", () => {
    assert.deepEqual(listeningAround(world.agent.pid), []);
    assert.deepEqual(listeningAround(world.gateway.pid).toSorted(), [publicPort, adminPort]);
  });

  test("who dials out reaches the public port alone, and who dials in nobody", () => {
    const { firewall } = world;
    const outward = dialled(firewall, "agent", gatewayHost, [publicPort, adminPort]);
    assert.deepEqual([...outward].toSorted(), [[publicPort, "open"], [adminPort, "silent"]]); // biome-ignore format: a row
    const inward = dialled(firewall, "gateway", agentHost, [publicPort, 4656, 22]);
    assert.deepEqual(new Set(inward.values()), new Set(["silent"]));
  });

  interface Case extends Asked {
    readonly name: string;
    readonly path: string;
    readonly shows: RegExp;
  }
  const fs = (call: string, more: string): string => `/v1/client/fs/${call}/ALLOC?${more}`;
  const cases: readonly Case[] = [
    { name: "ls", path: fs("ls", "path=/alloc/data"), shows: /"Name":"file"/ },
    { name: "stat", path: fs("stat", "path=/alloc/data/file"), shows: /"Size":6\b/ },
    { name: "cat", path: fs("cat", "path=/alloc/data/file"), shows: /^hello\n$/ },
    { name: "readat", path: fs("readat", "path=/alloc/data/file&offset=1&limit=3"), shows: /^ell$/ },
    { name: "stream", path: fs("stream", "path=/alloc/data/file&follow=false"), shows: /"Data":"aGVsbG8K"/ },
    { name: "logs, plain", path: fs("logs", "task=main&type=stdout&plain=true"), shows: /^line 1\nline 2\n/ },
    { name: "logs, framed", path: fs("logs", "task=main&type=stdout"), shows: /"Data":"bGluZSAx/ },
    { name: "stats of the allocation", path: "/v1/client/allocation/ALLOC/stats", shows: /"ResourceUsage":/ },
    { name: "stats of the node", path: "/v1/client/stats?node_id=NODE", shows: /"Uptime":/ },
    { name: "checks", path: "/v1/client/allocation/ALLOC/checks", shows: /^null$/ },
    { name: "node metadata, read", path: "/v1/client/metadata?node_id=NODE", shows: /"Meta":/ },
    { name: "gc of the node", method: "PUT", path: "/v1/client/gc?node_id=NODE", shows: /^$/ },
    { name: "gc of an allocation that runs", path: "/v1/client/allocation/ALLOC/gc", shows: /not eligible/ },
    { name: "signal", method: "PUT", path: "/v1/client/allocation/ALLOC/signal", body: { Signal: "SIGUSR1", Task: "main" }, shows: /^\{"Index":0\}$/ },
    { name: "allocations", path: "/v1/allocations", shows: /"JobID":"web"/ },
    { name: "an allocation", path: "/v1/allocation/ALLOC", shows: /"ClientStatus":"running"/ },
  ]; // biome-ignore format: a table
  for (const { name, path, shows, ...asked } of cases)
    test(`${name} answers`, async () => {
      const at = path.replace("ALLOC", allocation).replace("NODE", world.nodeId);
      const { status, text } = await world.ask(at, asked);
      assert.match(text, shows);
      assert.ok(status === 200 || shows.source === "not eligible", `${status} ${text}`);
    });

  for (const kind of ["plain", "framed"] as const)
    test(`a followed log comes as it is written, ${kind}`, async () => {
      const leave = new AbortController();
      const body = await world.follow(
        `/v1/client/fs/logs/${allocation}?task=main&type=stdout&follow=true&origin=end&offset=0&plain=${kind === "plain"}`,
        leave.signal,
      );
      let text = "";
      const seen = kind === "plain" ? /line \d+\n(?:.*\n)*line \d+\n/ : /"Data".*"Data"/s;
      await assert.rejects(
        async () => {
          for await (const chunk of body) {
            text += chunk.toString();
            if (seen.test(text)) leave.abort();
          }
        },
        { name: "AbortError" },
      );
    });

  test("a signal reaches the task", async () => {
    await until("its words", async () => (await logs("")).includes("got the signal"));
  });

  test("a command gets its input and gives its output and exit code", async () => {
    const client = world.exec(allocation, [
      "/bin/sh",
      "-c",
      "read x; echo got $x; echo bad >&2; exit 7",
    ]);
    await client.opened;
    client.stdin("word\n");
    assert.deepEqual(await client.closed, { code: 1000, reason: "" });
    assert.equal(client.output("stdout").toString(), "got word\n");
    assert.equal(client.output("stderr").toString(), "bad\n");
    assert.equal(client.exitCode(), 7);
  });

  test("a terminal is one: it has a size, which changes, input and an exit code", async () => {
    const client = world.exec(allocation, ["/bin/sh"], true);
    await client.opened;
    client.send({ tty_size: { height: 33, width: 77 } });
    client.stdin("stty size; tty\n");
    await client.seen("33 77");
    await client.seen("/dev/pts/");
    client.send({ tty_size: { height: 44, width: 88 } });
    client.stdin("stty size\n");
    await client.seen("44 88");
    client.stdin("exit 5\n");
    assert.equal((await client.closed).code, 1000);
    assert.equal(client.exitCode(), 5);
  });

  test("node metadata is set on the agent, and reaches the node registry", async () => {
    const set = await world.ask(`/v1/client/metadata?node_id=${world.nodeId}`, {
      method: "POST",
      body: { Meta: { place: "behind" } },
    });
    assert.equal(set.status, 200, set.text);
    assert.match(set.text, /"place":"behind"/);
    await until("the registry has it", async () => {
      const node = parseJson((await world.ask(`/v1/node/${world.nodeId}`)).text);
      const meta = isJsonObject(node) ? node["Meta"] : undefined;
      return isJsonObject(meta) && meta["place"] === "behind";
    });
  });

  test("a task is restarted", async () => {
    const restart = await world.ask(`/v1/client/allocation/${allocation}/restart`, {
      method: "PUT",
      body: { TaskName: "main" },
    });
    assert.equal(restart.status, 200, restart.text);
    await until("it is seen", async () =>
      /"Restarts":1\b/.test((await world.ask(`/v1/allocation/${allocation}`)).text),
    );
  });

  test("an allocation is stopped, and its files are collected", async () => {
    const short = await world.running("short");
    const stop = await world.ask(`/v1/allocation/${short}/stop`, { method: "PUT" });
    assert.equal(stop.status, 200, stop.text);
    await until("it is complete", async () =>
      /"ClientStatus":"complete"/.test((await world.ask(`/v1/allocation/${short}`)).text),
    );
    const collected = await world.ask(`/v1/client/allocation/${short}/gc`);
    assert.equal(collected.status, 200, collected.text);
    const gone = await world.ask(`/v1/client/fs/ls/${short}?path=/`);
    assert.notEqual(gone.status, 200);
  });

  test("all of it went through one tunnel", async () => {
    assert.equal(await world.figure('serai_tunnels{state="open"}'), 1);
    assert.equal(world.home.audit().filter(({ event }) => event === "tunnel_opened").length, 1);
    assert.equal(world.home.audit().filter(({ event }) => event === "tunnel_ended").length, 0);
  });
});
