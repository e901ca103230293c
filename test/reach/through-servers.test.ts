/** Through the servers: one after the other, only what was certainly not heard, and words when none is left. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { test } from "node:test";
import { GatewayError } from "../../src/errors.ts";
import { createServers } from "../../src/nomad/servers.ts";
import type { Obstacle } from "../../src/reach/reasons.ts";
import { throughServers } from "../../src/reach/through-servers.ts";
import {
  clock,
  eventually,
  exchangeOn,
  type Front,
  type FrontOptions,
  front,
  nodeAt,
  pathOf,
  quiet,
  scopeOf,
} from "../carry/front.ts";
import { deadAddress, faultyAgent, freeAddress, type Script } from "../support/faulty-agent.ts";
import { get, rawClient, rawRequest } from "../support/raw-client.ts";

const ok: Script = ({ socket }) => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");

interface Through extends AsyncDisposable {
  readonly gate: Front;
  readonly taken: readonly Obstacle[];
  readonly current: () => string;
}

const through = async (
  addresses: readonly string[],
  options: Omit<FrontOptions, "over">,
): Promise<Through> => {
  await using stack = new AsyncDisposableStack();
  const origins = addresses.map((address) => `http://${address}`);
  const servers = createServers({ addresses: origins, connectTimeoutMs: 1_000, tls: undefined });
  stack.defer(() => servers.close(AbortSignal.timeout(1_000)));
  const taken: Obstacle[] = [];
  const gate = stack.use(
    await front({
      ...options,
      over: (direct) => {
        const ways = throughServers(
          direct,
          { clock, log: quiet, servers, taken: (obstacle) => void taken.push(obstacle) },
          { tls: undefined, connectTimeoutMs: 1_000 },
        );
        stack.defer(() => ways.close(AbortSignal.timeout(1_000)));
        return ways;
      },
    }),
  );
  const running = stack.move();
  return {
    gate,
    taken,
    current: () => servers.current,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
};

test("a server that cannot be dialled gives way to the next, which is asked first from then on", async () => {
  await using server = await faultyAgent(ok);
  const node = nodeAt(await deadAddress());
  await using cluster = await through([await deadAddress(), server.address], {
    route: "fs.ls",
    node,
  });
  const answer = await rawRequest(cluster.gate.port, get(pathOf("fs.ls")));
  assert.equal(`${answer.status} ${answer.body}`, "200 ok");
  assert.equal(answer.headers.get("x-serai-reach"), "servers; reason=refused");
  assert.deepEqual(cluster.taken, ["refused"]);
  assert.equal(cluster.current(), `http://${server.address}`);
});

test("with no server left the refusal names the node, why it cannot be dialled, and the servers", async () => {
  const node = nodeAt(await deadAddress());
  const servers = [await deadAddress(), await deadAddress()];
  await using cluster = await through(servers, { route: "fs.ls", node });
  const answer = await rawRequest(cluster.gate.port, get(pathOf("fs.ls")));
  assert.equal(answer.status, 502);
  assert.equal(
    answer.body.toString(),
    "node golden-3 cannot be reached: connection refused; nor can a Nomad server",
  );
  assert.equal(answer.headers.get("retry-after"), "1");
});

for (const [name, script] of [
  ["breaks off before it has answered", ({ socket }) => socket.destroy()],
  ["answers what is no HTTP", ({ socket }) => socket.write("nonsense\r\n\r\n")],
] as const satisfies readonly (readonly [string, Script])[])
  test(`an agent that ${name} has perhaps heard the request, and no server is asked`, async () => {
    await using agent = await faultyAgent(script);
    await using server = await faultyAgent(ok);
    await using cluster = await through([server.address], {
      route: "alloc.restart",
      node: nodeAt(agent.address),
      body: { TaskName: "web" },
    });
    const answer = await rawRequest(cluster.gate.port, get(pathOf("fs.ls")));
    assert.equal(answer.status, 502);
    assert.equal(agent.requests.length, 1);
    assert.deepEqual([server.connections, cluster.taken.length], [0, 0]);
  });

test("a change whose agent cannot be dialled is asked for once, with its body", async () => {
  await using server = await faultyAgent(ok);
  await using cluster = await through([server.address], {
    route: "alloc.restart",
    node: nodeAt(await deadAddress()),
    body: { TaskName: "web" },
  });
  const answer = await rawRequest(cluster.gate.port, get(pathOf("fs.ls")));
  assert.equal(answer.status, 200);
  assert.equal(server.requests.length, 1);
  assert.match(server.requests[0] ?? "", /^PUT \/v1\/client\/allocation\/.*\/restart HTTP/);
  assert.ok(server.extraBytes > 0);
});

test("while a circuit is open the agent is left alone but for a try now and then, which finds it back", async () => {
  await using server = await faultyAgent(ok);
  const address = await freeAddress();
  await using cluster = await through([server.address], {
    route: "fs.ls",
    node: nodeAt(address),
    reach: { failures: 1, openMs: 100, maxOpenMs: 100 },
  });
  const reached = async (): Promise<string | undefined> => {
    const answer = await rawRequest(cluster.gate.port, get(pathOf("fs.ls")));
    assert.equal(answer.status, 200);
    return answer.headers.get("x-serai-reach");
  };
  assert.equal(await reached(), "servers; reason=refused");
  await eventually(reached, "servers; reason=circuit");
  const back = createServer((_request, response) => response.end("ok"));
  back.listen(Number(address.split(":")[1]), "127.0.0.1");
  await once(back, "listening");
  await eventually(reached, undefined);
  const closed = once(back, "close");
  back.close();
  back.closeAllConnections();
  await closed;
});

test("a server that has as many streams as may be gives way to the next; when all have, it is 503", async () => {
  const following: Script = ({ socket }) =>
    socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n");
  await using one = await faultyAgent(following);
  await using other = await faultyAgent(following);
  await using cluster = await through([one.address, other.address], {
    route: "fs.logs",
    node: nodeAt(await deadAddress()),
  });
  const clients = Array.from({ length: 48 }, () =>
    rawClient(cluster.gate.port, get(pathOf("fs.logs"))),
  );
  for (const client of clients) await client.seen("{}");
  assert.deepEqual([one.requests.length, other.requests.length], [24, 24]);
  assert.equal(cluster.current(), `http://${one.address}`);
  const { status, headers } = await rawRequest(cluster.gate.port, get(pathOf("fs.logs")));
  assert.equal(`${status} ${headers.get("x-serai-error")}`, "503 overloaded");
  for (const { socket } of clients) socket.destroy();
});

test("a full pool is 503 and no reason to go through a server", async () => {
  await using agent = await faultyAgent(({ socket }) =>
    socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"),
  );
  await using server = await faultyAgent(ok);
  await using cluster = await through([server.address], {
    route: "fs.logs",
    node: nodeAt(agent.address),
    reach: { streamConnections: 0 },
  });
  const answer = await rawRequest(cluster.gate.port, get(pathOf("fs.logs")));
  assert.equal(`${answer.status} ${answer.headers.get("retry-after")}`, "503 1");
  assert.equal(server.connections, 0);
});

test("a call that waited in vain for a server's connections does not wait for the next one's; a socket, which did not wait, goes there", async () => {
  const node = nodeAt("");
  const origins = ["http://127.0.0.1:1", "http://127.0.0.1:2"];
  const servers = createServers({ addresses: origins, connectTimeoutMs: 1_000, tls: undefined });
  const direct = {
    to: () => {
      throw new GatewayError("node_unreachable", { node: node.name, reason: "no address" });
    },
    report: () => [],
  };
  const ways = throughServers(
    direct,
    { clock, log: quiet, servers, taken: () => undefined },
    { tls: undefined, connectTimeoutMs: 1_000 },
  );
  const full = new GatewayError("overloaded", { node: node.name });
  const nextOf = async (route: string): Promise<string | undefined> => {
    const exchange = exchangeOn(route);
    const next = await ways.to(scopeOf(exchange.route, node), exchange).next?.(full);
    return next?.origin;
  };
  assert.equal(await nextOf("fs.ls"), undefined);
  assert.equal(await nextOf("alloc.exec"), origins[1]);
  await ways.close(AbortSignal.timeout(1_000));
  await servers.close(AbortSignal.timeout(1_000));
});
