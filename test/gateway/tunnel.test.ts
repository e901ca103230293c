/** An agent that dials out: no listener of its own, and every kind of exchange through the one connection it made. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { connect, createServer, type Server, type Socket } from "node:net";
import { after, before, describe, test } from "node:test";
import { request } from "undici";
import { isJsonObject, parseJson } from "../../src/lib/json.ts";
import { tunnelPath, tunnelProtocol } from "../../src/tunnel/protocol.ts";
import { eventually, type Rig, startRig } from "../support/rig.ts";
import { execClient } from "../support/ws-client.ts";

/** Between agent and gateway; cuts and holds what passes. */
interface Relay {
  readonly address: string;
  readonly sockets: ReadonlySet<Socket>;
  /** Nothing passes any more, and nobody is told. */
  hold(): void;
  release(): void;
  reset(): void;
  close(): void;
}

const startRelay = async (port: () => number): Promise<Relay> => {
  const sockets = new Set<Socket>();
  let isHeld = false;
  const server: Server = createServer({ noDelay: true }, (near) => {
    const far = connect({ port: port(), host: "127.0.0.1", noDelay: true });
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(one);
      one.on("error", () => other.destroy());
      one.once("close", () => {
        sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
    if (isHeld) for (const one of [near, far]) one.pause().unpipe();
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  return {
    address: `http://127.0.0.1:${address.port}`,
    sockets,
    hold: () => {
      isHeld = true;
      for (const one of sockets) one.unpipe().pause();
    },
    release: () => {
      isHeld = false;
      for (const one of sockets) one.destroy();
    },
    reset: () => {
      for (const one of [...sockets]) one.resetAndDestroy();
    },
    close: () => {
      server.close();
      for (const one of sockets) one.destroy();
    },
  };
};

const mib = 1024 * 1024;
let rig: Rig;
let relay: Relay;
let allocation = "";
let token = "";

const task = (name: string, script: string) => ({
  name, command: "/bin/sh", args: ["-c", script], kill_timeout: "1s",
}); // biome-ignore format: a row

const tunnelled = { gateway: { tunnel: true } };

before(async () => {
  relay = await startRelay(() => Number(new URL(rig.url).port));
  rig = await startRig({
    policies: {
      operator: {
        namespace: [{ "*": { policy: "write", capabilities: ["alloc-node-exec"] } }],
        node: { policy: "write" },
      },
    },
    tokens: { operator: { policies: ["operator"] } },
  });
  await rig.startAgent({
    gatewayAddress: relay.address,
    settings: tunnelled,
    workloads: [
      {
        job: "behind", group: "main",
        tasks: [task("main", `head -c ${64 * mib} /dev/zero > $NOMAD_ALLOC_DIR/data/big; n=0; while sleep 0.1; do n=$((n+1)); echo line $n; done`)],
      },
    ],
  }); // biome-ignore format: as it stands in a file
  await rig.until("behind", "running");
  allocation = rig.allocation("behind");
  token = rig.secret("operator");
  await eventually("the file is whole", async () => {
    const { body } = await rig.get(`/v1/client/fs/stat/${allocation}?path=/alloc/data/big`, token);
    return body.includes(`"Size":${64 * mib}`) || undefined;
  });
});
after(async () => {
  await rig[Symbol.asyncDispose]();
  relay.close();
});

const opened = (): number => relay.sockets.size;
const node = (): string => rig.agent().nodeId;
const exec = (command: readonly string[], tty = false) =>
  execClient({ url: rig.url, allocation, token, task: "main", command, tty });

describe("through the tunnel", () => {
  test("its agent listens nowhere", () => {
    assert.equal(rig.agent().agent.address, `${node()}.tunnel.invalid:4646`);
  });

  test("files, stats and metadata answer", async () => {
    const list = await rig.get(`/v1/client/fs/ls/${allocation}?path=/alloc/data`, token);
    assert.equal(list.status, 200, list.text);
    assert.ok(list.text.includes('"big"'));
    const stats = await rig.get(`/v1/client/allocation/${allocation}/stats`, token);
    assert.equal(stats.status, 200, stats.text);
    const meta = await rig.ask({
      method: "POST",
      path: `/v1/client/metadata?node_id=${node()}`,
      token,
      body: JSON.stringify({ Meta: { way: "tunnel" } }),
    });
    assert.equal(meta.status, 200, meta.text);
    assert.ok(meta.text.includes('"way":"tunnel"'));
  });

  test("a download comes whole", async () => {
    const answer = await rig.get(`/v1/client/fs/cat/${allocation}?path=/alloc/data/big`, token);
    const hash = createHash("sha256").update(answer.body).digest("hex");
    assert.equal(answer.body.length, 64 * mib);
    assert.equal(
      hash,
      createHash("sha256")
        .update(Buffer.alloc(64 * mib))
        .digest("hex"),
    );
  });

  test("a command runs with input, output, a terminal and its exit code", async () => {
    const plain = exec(["/bin/sh", "-c", "read x; echo got $x; exit 7"]);
    await plain.opened;
    plain.stdin("word\n");
    await plain.seen("got word");
    assert.equal((await plain.closed).code, 1000);
    assert.equal(plain.exitCode(), 7);
    const terminal = exec(["/bin/sh", "-c", "test -t 0 && echo terminal"], true);
    await terminal.seen("terminal");
    assert.equal((await terminal.closed).code, 1000);
  });

  test("twenty stopped downloads stall no small request", async () => {
    const cat = `${rig.url}/v1/client/fs/cat/${allocation}?path=/alloc/data/big`;
    const stopped = await Promise.all(
      Array.from({ length: 20 }, () => request(cat, { headers: { "x-nomad-token": token } })),
    );
    const path = `/v1/client/fs/stat/${allocation}?path=/alloc/data/big`;
    for (let count = 0; count < 20; count++) assert.equal((await rig.get(path, token)).status, 200);
    for (const { body } of stopped) body.on("error", () => undefined).destroy();
  });
});

describe("a tunnel that ends", () => {
  test("cuts what is live, and is there again for the next request", async (t) => {
    const follow = await request(
      `${rig.url}/v1/client/fs/logs/${allocation}?task=main&type=stdout&follow=true&plain=true`,
      { headers: { "x-nomad-token": token } },
    );
    assert.equal(follow.statusCode, 200);
    const shell = exec(["/bin/sh", "-c", "echo in; sleep 100"]);
    await shell.seen("in");
    const broken = assert.rejects(async () => {
      for await (const _ of follow.body);
    });
    assert.ok(opened() > 0);
    const resetMs = performance.now();
    relay.reset();
    await broken;
    assert.equal((await shell.closed).code, 1011);
    const tookMs = performance.now() - resetMs;
    t.diagnostic(`cut ${tookMs.toFixed(0)} ms after the reset`);
    assert.ok(tookMs < 2_000, `${tookMs} ms`);
    const next = await rig.get(`/v1/client/fs/ls/${allocation}?path=/alloc/data`, token);
    assert.equal(next.status, 200, next.text);
  });
});

describe("the ways to its node", () => {
  const reach = async () => {
    const reply = await rig.get(`/v1/serai/nodes/${node()}/reach`, token);
    assert.equal(reply.status, 200, reply.text);
    const report = parseJson(reply.text);
    assert.ok(isJsonObject(report));
    return report;
  };
  /** What is left of a report when the ages in it are left out. */
  const ageless = (value: unknown): string =>
    JSON.stringify(value, (key, inner: unknown) => (key.endsWith("AgoMs") ? typeof inner : inner));

  test("are told: the tunnel is used, and it has no address", async () => {
    const files = await rig.get(`/v1/client/fs/ls/${allocation}?path=/`, token);
    assert.equal(files.status, 200, files.text);
    const report = await reach();
    assert.match(String(report["Description"]), /^its tunnel has been open for \d+ s: answered /);
    assert.equal(report["Used"], "tunnel");
    assert.match(
      ageless(report["Ways"]),
      /^\[\{"Way":"tunnel","State":"used",.*"LastError":.*\},\{"Way":"direct","State":"absent","Description":"it has no address, it dials out",/,
    );
  });

  test("are told in the same words where a request is refused", async () => {
    relay.hold();
    for (const one of [...relay.sockets]) one.resetAndDestroy();
    await eventually("its end is known", async () => (await reach())["Used"] === null || undefined);
    const reply = await rig.get(`/v1/client/fs/ls/${allocation}?path=/`, token);
    assert.equal(reply.status, 502, reply.text);
    const { Description: words } = await reach();
    assert.match(String(words), /^its tunnel ended (?:just now|\d+ s ago): \S/);
    const plain = (text: string): string => text.replace(/(?:just now|\d+ s ago)/g, "then");
    assert.equal(
      plain(reply.text),
      `node ${rig.agent().name} cannot be reached: ${plain(String(words))}`,
    );
    relay.release();
    await eventually("it is back", async () => (await reach())["Used"] === "tunnel" || undefined);
  });

  test("are for those who may read nodes", async () => {
    assert.equal((await rig.get(`/v1/serai/nodes/${node()}/reach`)).status, 403);
    const unknown = await rig.get(
      "/v1/serai/nodes/00000000-0000-4000-8000-000000000000/reach",
      token,
    );
    assert.equal(
      `${unknown.status} ${unknown.text}`,
      "404 Unknown node 00000000-0000-4000-8000-000000000000",
    );
  });
});

describe("a hello that is not let in", () => {
  const hello = (headers: Readonly<Record<string, string>>, upgrade = tunnelProtocol) =>
    new Promise<string>((resolve) => {
      const socket = connect(Number(new URL(rig.url).port), "127.0.0.1");
      let text = "";
      socket.on("error", () => undefined);
      socket.on("data", (chunk: Buffer) => {
        text += chunk.toString("latin1");
      });
      socket.once("close", () => resolve(text));
      const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
      socket.write(
        `GET ${tunnelPath} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: ${upgrade}\r\n${lines.join("")}\r\n`,
      );
    });
  const bearer = (): { Authorization: string } => ({ Authorization: `Bearer ${rig.joinSecret()}` });

  test("in another version: 426 with the one that is spoken", async () => {
    const answer = await hello({ ...bearer(), "X-Serai-Node": node() }, "serai-tunnel/2");
    assert.match(answer, /^HTTP\/1\.1 426 /);
    assert.match(answer, /\r\nUpgrade: serai-tunnel\/1\r\n/);
  });
  test("with a token that is none: 403, and audited", async () => {
    const answer = await hello({ Authorization: "Bearer nonsense", "X-Serai-Node": node() });
    assert.match(answer, /^HTTP\/1\.1 403 /);
    const kinds = (): readonly unknown[] => rig.audit().map(({ event }) => event);
    await eventually("its record", () => kinds().includes("tunnel_refused") || undefined);
  });
  test("without a token: 403", async () => {
    assert.match(await hello({ "X-Serai-Node": node() }), /^HTTP\/1\.1 403 /);
  });
  test("without a node: 400", async () => {
    assert.match(await hello(bearer()), /^HTTP\/1\.1 400 /);
  });
});
