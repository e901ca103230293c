/** An agent that dies or falls silent in the middle: its caller sees an abort or a deadline, never a clean end. */
import assert from "node:assert/strict";
import { readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { request } from "undici";
import {
  createHome,
  type GatewayProgram,
  type Home,
  type Program,
  processesBelow,
  shellWorkload,
  until,
} from "../support/processes.ts";
import { get, rawClient } from "../support/raw-client.ts";
import { execClient } from "../support/ws-client.ts";

let home: Home;
let gateway: GatewayProgram;
let token = "";

before(async () => {
  home = createHome();
  gateway = await home.gateway({ timeouts: { first_byte: "2s" }, node: { down_after: "30s" } });
  token = home.secrets.operator;
});
after(async () => {
  await home[Symbol.asyncDispose]();
  // their tasks outlive agents that are killed
  await until("no process is left", () => processesBelow(home.directory).length === 0);
});

interface Victim {
  readonly name: string;
  readonly program: Program;
  readonly allocation: string;
  readonly directory: string;
}

let count = 0;

/** A real agent process with one task; each test kills its own. */
const victim = async (): Promise<Victim> => {
  const name = `victim-${++count}`;
  const script = "echo begun; sleep 1000";
  const program = await home.agent(name, gateway.url, { workloads: [shellWorkload(name, script)] });
  const directory = path.join(home.directory, "agents", name);
  const allocation = await until("its allocation runs", async () => {
    const answer = await request(`${gateway.url}/v1/allocations?task_states=false`, {
      headers: { "x-nomad-token": token },
    });
    const list = (await answer.body.json()) as {
      ID: string;
      JobID: string;
      ClientStatus: string;
    }[]; // our own answer
    return list.find(({ JobID, ClientStatus }) => JobID === name && ClientStatus === "running")?.ID;
  });
  return { name, program, allocation, directory };
};

const end = async ({ program }: Victim): Promise<void> => {
  program.kill("SIGCONT");
  program.kill("SIGKILL");
  await program.ended;
};

const withToken = (more = ""): string => `X-Nomad-Token: ${token}\r\n${more}`;
const mib = 1024 * 1024;
/** More than the sockets on its way may hold, be there no reader. */
const bigBytes = 96 * mib;

describe("an agent killed", { concurrency: 2 }, () => {
  for (const version of ["1.1", "1.0"])
    test(`in mid-download: HTTP/${version} is cut, what came is a prefix`, async () => {
      const one = await victim();
      const file = path.join(one.directory, "alloc", one.allocation, "alloc", "data", "big");
      const content = Buffer.alloc(bigBytes, "0123456789abcde\n");
      writeFileSync(file, content);
      const head = get(
        `/v1/client/fs/cat/${one.allocation}?path=alloc/data/big`,
        withToken(),
      ).replace("HTTP/1.1", `HTTP/${version}`);
      const client = rawClient(gateway.port, head);
      await client.seen("0123456789abcde");
      client.socket.pause();
      await end(one);
      client.socket.resume();
      const answer = await client.answer();
      assert.equal(answer.status, 200);
      assert.ok(
        answer.body.length > 0 && answer.body.length < content.length,
        String(answer.body.length),
      );
      assert.ok(
        content.subarray(0, answer.body.length).equals(answer.body),
        "a prefix, nothing appended",
      );
      assert.equal(answer.end, version === "1.0" ? "reset" : answer.end);
      assert.notEqual(answer.end, "whole");
    });

  for (const [name, query, seen] of [
    ["framed", "follow=true", '"Data"'],
    ["plain", "follow=true&plain=true", "begun"],
  ] as const) // biome-ignore format: a table
    test(`in the middle of a ${name} follow: no last chunk`, async () => {
      const one = await victim();
      const client = rawClient(
        gateway.port,
        get(`/v1/client/fs/logs/${one.allocation}?task=main&type=stdout&${query}`, withToken()),
      );
      await client.seen(seen);
      await end(one);
      const answer = await client.answer();
      assert.notEqual(answer.end, "whole");
      if (name === "plain") assert.equal(answer.body.toString(), "begun\n");
      assert.ok(!client.received().toString().includes("\r\n0\r\n\r\n"));
    });

  test("in the middle of an exec: close 1011 with the node's name, and no exit frame", async () => {
    const one = await victim();
    const client = execClient({
      url: gateway.url,
      allocation: one.allocation,
      token,
      task: "main",
      command: ["/bin/sh", "-c", "echo in; sleep 1000"],
    });
    await client.seen("in");
    await end(one);
    const { code, reason } = await client.closed;
    assert.equal(code, 1011);
    assert.ok(reason.includes(one.name), reason);
    assert.equal(client.exitCode(), undefined);
  });

  test("before it is asked: 502 with the node's name, 1013 for an exec", async () => {
    const one = await victim();
    await end(one);
    const answer = await rawClient(
      gateway.port,
      get(`/v1/client/fs/ls/${one.allocation}`, withToken("Connection: close\r\n")),
    ).answer();
    assert.equal(answer.status, 502);
    assert.ok(answer.body.toString().includes(one.name));
    const client = execClient({
      url: gateway.url,
      allocation: one.allocation,
      token,
      task: "main",
      command: ["true"],
    });
    assert.equal((await client.closed).code, 1013);
  });
});

describe("an agent stopped", () => {
  test("answers are given up by the first byte: 504 each, an exec is not tried again", async () => {
    const one = await victim();
    one.program.kill("SIGSTOP");
    const asked = ["fs/ls", "fs/cat", "fs/logs"].map(async (what) => {
      const query = what === "fs/logs" ? "task=main&type=stdout" : "path=/alloc";
      const answer = await rawClient(
        gateway.port,
        get(`/v1/client/${what}/${one.allocation}?${query}`, withToken("Connection: close\r\n")),
      ).answer();
      assert.equal(answer.status, 504, what);
      assert.ok(answer.body.toString().includes(one.name));
    });
    const client = execClient({
      url: gateway.url,
      allocation: one.allocation,
      token,
      task: "main",
      command: ["/bin/sh", "-c", "echo ran >> $NOMAD_ALLOC_DIR/data/ran; sleep 1000"],
    });
    const [{ code }] = await Promise.all([client.closed, ...asked]);
    assert.equal(code, 1013);
    one.program.kill("SIGCONT");
    const stat = await until("the agent is back", async () => {
      const { status, body } = await rawClient(
        gateway.port,
        get(
          `/v1/client/fs/ls/${one.allocation}?path=/alloc/data`,
          withToken("Connection: close\r\n"),
        ),
      ).answer();
      return status === 200 ? body.toString() : undefined;
    });
    assert.ok(!stat.includes('"ran"'), "a command whose caller was told it failed has not run");
  });
});

describe("a client that leaves", () => {
  test("a hundred followers reset: nothing of them is left open on the agent", async () => {
    const one = await victim();
    const open = (): number => readdirSync(`/proc/${one.program.pid}/fd`).length;
    const path = `/v1/client/fs/logs/${one.allocation}?task=main&type=stdout&follow=true`;
    const follow = async (): Promise<void> => {
      const clients = Array.from({ length: 20 }, () =>
        rawClient(gateway.port, get(path, withToken())),
      );
      await Promise.all(clients.map((client) => client.seen('"Data"')));
      for (const client of clients) client.socket.resetAndDestroy();
    };
    const before = open();
    for (let round = 0; round < 5; round++) await follow();
    // viewers of one log ask where they would begin over connections that are kept for half a minute
    await until("its descriptors are back", () => open() <= before + 2, 45_000);
    const { body } = await request(`${gateway.adminUrl}/debug/live`);
    assert.ok(!(await body.text()).includes("fs.logs"));
  });
});
