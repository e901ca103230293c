/** The connector's end of a tunnel: each connection is joined with one to the agent, and how it ends is how the other ends. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { test } from "node:test";
import { createForward, type ForwardOptions } from "../../src/tunnel/forward.ts";
import { createLink, type Link } from "../../src/tunnel/link.ts";
import { serveTunnel } from "../../src/tunnel/serve.ts";
import { quiet } from "../carry/front.ts";
import { until } from "../support/processes.ts";
import { connectedPair } from "./support.ts";

interface Beside extends AsyncDisposable {
  readonly link: Link;
  /** Connections of the connector to the agent, as the agent has them. */
  readonly taken: readonly Socket[];
  readonly served: { readonly streams: number };
}

const nodeId = "11111111-2222-4333-8444-555555555555";

/** A tunnel to an agent that is a plain TCP server. */
const beside = async (given: Partial<ForwardOptions> = {}): Promise<Beside> => {
  await using stack = new AsyncDisposableStack();
  const taken: Socket[] = [];
  const agent = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => undefined);
    taken.push(socket);
  });
  agent.listen(0, "127.0.0.1");
  await once(agent, "listening");
  stack.defer(() => {
    for (const socket of taken) socket.destroy();
    agent.close();
  });
  const bound = agent.address();
  assert.ok(bound !== null && typeof bound === "object");
  const pair = stack.use(await connectedPair());
  const accept = createForward(
    { log: quiet },
    {
      nodeId,
      address: { host: "127.0.0.1", port: bound.port },
      connectTimeoutMs: 2_000,
      maxConnections: 10,
      ...given,
    },
  );
  const served = serveTunnel(pair.far, { accept, draining: () => undefined });
  const link = createLink(pair.near, { ended: () => undefined, leaving: () => undefined });
  const running = stack.move();
  return { link, taken, served, [Symbol.asyncDispose]: () => running.disposeAsync() };
};

const open = (link: Link): Promise<Duplex> =>
  new Promise((resolve, reject) => {
    link.open((error, connection) => {
      if (connection === null) return reject(error ?? new Error("neither"));
      connection.on("error", () => undefined);
      resolve(connection);
    });
  });

const opened = async ({ link, taken }: Beside): Promise<readonly [Duplex, Socket]> => {
  const before = taken.length;
  const connection = await open(link);
  return [connection, await until("the agent has it", () => taken[before])];
};

/** How a side ends: with its text, or with what broke it. */
const endOf = async (side: Duplex): Promise<string> => {
  let text = "";
  try {
    for await (const chunk of side) text += String(chunk);
    return `ended: ${text}`;
  } catch {
    return `broken: ${text}`;
  }
};

test("what one side says the other hears, and each may end its half first", async () => {
  await using tunnel = await beside();
  const [gateway, agent] = await opened(tunnel);
  gateway.end("question");
  assert.equal(await endOf(agent), "ended: question");
  agent.end("answer");
  assert.equal(await endOf(gateway), "ended: answer");
  await until("both are closed", () => tunnel.served.streams === 0 && agent.destroyed);
});

test("an agent that resets breaks the gateway's side, which never ends cleanly", async () => {
  await using tunnel = await beside();
  const [gateway, agent] = await opened(tunnel);
  agent.write("half");
  await once(gateway, "readable");
  agent.resetAndDestroy();
  assert.equal(await endOf(gateway), "broken: half");
});

test("a gateway that gives a connection up resets it at the agent", async () => {
  await using tunnel = await beside();
  const [gateway, agent] = await opened(tunnel);
  gateway.write("half");
  await once(agent, "readable");
  gateway.destroy(new Error("cut"));
  assert.equal(await endOf(agent), "broken: half");
});

test("so it does when it has ended its own half before", async () => {
  await using tunnel = await beside();
  const [gateway, agent] = await opened(tunnel);
  gateway.end("question");
  assert.equal(await endOf(agent), "ended: question");
  agent.write("half");
  await once(gateway, "readable");
  gateway.destroy(new Error("cut"));
  await until("the agent finds nobody there", () => {
    agent.write("more");
    return agent.destroyed;
  });
});

test("a tunnel that is lost resets its connections at the agent", async () => {
  await using tunnel = await beside();
  const [, agent] = await opened(tunnel);
  tunnel.link.end("lost", "lost");
  assert.equal(await endOf(agent), "broken: ");
});

test("an agent that is written to and does not read holds the gateway's side up", async () => {
  await using tunnel = await beside();
  const [gateway, agent] = await opened(tunnel);
  const chunk = Buffer.alloc(64 * 1024);
  let written = 0;
  const more = (): void => {
    do written += chunk.length;
    while (gateway.write(chunk));
  };
  gateway.on("drain", more);
  more();
  const most = 64 * 1024 * 1024; // what kernels, windows and buffers hold is far less
  let before = -1;
  await until("it is held up", () => {
    const still = written === before && gateway.writableNeedDrain;
    before = written;
    return still;
  });
  assert.ok(written < most, String(written));
  const read = written;
  agent.resume();
  await until("it goes on", () => written > read + most / 4);
  gateway.off("drain", more);
  gateway.destroy();
});

/** Each quarter of a KiB is numbered: what is mixed up, lost or there twice shows. */
const numbered = (bytes: number): Buffer => {
  const made = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at += 256) made.writeUInt32BE(at, at);
  return made;
};

test("a long answer comes whole though its reader stops in between", async () => {
  await using tunnel = await beside();
  const [gateway, agent] = await opened(tunnel);
  const sent = numbered(8 * 1024 * 1024);
  agent.end(sent);
  await until("it is held up", () => gateway.readableLength >= gateway.readableHighWaterMark);
  const came: Buffer[] = [];
  for await (const chunk of gateway) came.push(chunk);
  assert.ok(Buffer.concat(came).equals(sent));
});

for (const bytes of [1, 16 * 1024, 16 * 1024 + 1, 64 * 1024])
  test(`what is sent is there at once, and does not wait for more: ${bytes} bytes`, async () => {
    await using tunnel = await beside();
    const [gateway, agent] = await opened(tunnel);
    const sent = Buffer.alloc(bytes, "x");
    let came = 0;
    gateway.on("data", (chunk: Buffer) => {
      came += chunk.length;
    });
    agent.write(sent);
    await until("all of it is there", () => came === bytes);
  });

test("an agent that cannot be reached is a connection that was never open", async () => {
  const gone = createServer().listen(0, "127.0.0.1");
  await once(gone, "listening");
  const bound = gone.address();
  assert.ok(bound !== null && typeof bound === "object");
  gone.close();
  await once(gone, "close");
  await using tunnel = await beside({ address: { host: "127.0.0.1", port: bound.port } });
  await assert.rejects(open(tunnel.link), /its agent does not answer behind the tunnel/);
  await until("nothing is left", () => tunnel.served.streams === 0);
});

test("connections are bounded, and one that ends makes room", async () => {
  await using tunnel = await beside({ maxConnections: 1 });
  const [gateway, agent] = await opened(tunnel);
  await assert.rejects(open(tunnel.link), /as many connections go through its tunnel as may/);
  agent.end();
  gateway.end();
  const again = await until("there is room again", () => open(tunnel.link).catch(() => undefined));
  again.destroy();
});
