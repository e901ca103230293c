/**
 * What a gateway, or whoever took its place, can do to a connector: it is cut and dialled again later, costs no memory, and
 * reaches nothing but the one agent.
 */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { stringify } from "yaml";
import { tunnelProtocol } from "../../src/tunnel/protocol.ts";
import {
  continuation,
  data,
  flags,
  headers,
  hpack,
  many,
  newest,
  padded,
  preface,
  priority,
  reset,
  settings,
  windowUpdate,
} from "../support/frames.ts";
import { drained, statusKb } from "../support/hostile-tunnel.ts";
import { createHome, type Home, type Program, until } from "../support/processes.ts";
import { faults, floods } from "../support/tunnel-attacks.ts";

interface Attack {
  readonly name: string;
  /** Instead of the 101 of a gateway. */
  readonly answer?: string;
  /** Once, after the answer. */
  readonly begin?: Buffer;
  /** Then until it is cut. */
  readonly bytes?: Buffer;
}

const boundMs = 5_000;
const maxConnections = 50;
const accepted = `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${tunnelProtocol}\r\n\r\n`;
const begun = Buffer.concat([preface, settings()]);
const ids = (count: number): readonly number[] =>
  Array.from({ length: count }, (_, nth) => 2 * nth + 1);
const each = (count: number, make: (id: number) => Buffer): Buffer =>
  Buffer.concat(ids(count).map(make));
const opened = headers(1, hpack.connect("agent"));
const kilobyte = hpack.plain("a", "b".repeat(1_000));
const get = Buffer.concat([Buffer.from([0x82, 0x87, 0x84]), hpack.plain(":authority", "agent")]);

let elsewhere: Server; // nobody may be sent there
let elsewhereAddress = "";

// biome-ignore format: a table
const attacks = (): readonly Attack[] => [
  ...[...floods, ...faults].map(({ name, bytes }) => ({ name, begin: begun, bytes })),
  { name: "garbage behind its 101", begin: Buffer.from("HTTP/1.1 200 OK\r\n\r\nhello, hello, hello"), bytes: Buffer.alloc(1_024, "x") },
  { name: "an upgrade to something else", answer: accepted.replace(tunnelProtocol, "websocket") },
  { name: "an upgrade to nothing", answer: "HTTP/1.1 101 Switching Protocols\r\n\r\n" },
  { name: "a refusal without end", answer: "HTTP/1.1 403 Forbidden\r\n\r\n", bytes: Buffer.alloc(65_536, "x") },
  { name: "a head without end", answer: "HTTP/1.1 200 OK\r\n", bytes: Buffer.from("a: b\r\n".repeat(4_096)) },
  { name: "a redirect", answer: `HTTP/1.1 302 Found\r\nLocation: http://${elsewhereAddress}/\r\nContent-Length: 0\r\n\r\n` },
  { name: "no HTTP", answer: "SSH-2.0-OpenSSH_9.6\r\n" },
  { name: "GETs", begin: begun, bytes: each(4_000, (id) => headers(id, get, flags.endHeaders | flags.endStream)) },
  { name: "CONNECTs to another place", begin: begun, bytes: each(4_000, (id) => headers(id, hpack.connect(elsewhereAddress))) },
  { name: "CONNECTs by the thousand", begin: begun, bytes: each(4_000, (id) => headers(id, hpack.connect("agent"))) },
  { name: "CONNECTs that are reset", begin: begun, bytes: each(4_000, (id) => Buffer.concat([headers(id, hpack.connect("agent")), reset(id)])) },
  { name: "CONNECTs that are to be reset", begin: begun, bytes: each(4_000, (id) => Buffer.concat([headers(id, hpack.connect("agent")), windowUpdate(id, 0)])) },
  { name: "PRIORITY on itself", begin: Buffer.concat([begun, opened]), bytes: many(priority(1, 1)) },
  { name: "a giant head", begin: begun, bytes: headers(1, Buffer.concat([hpack.connect("agent"), many(kilobyte, 12)])) },
  { name: "a head without end of CONTINUATION", begin: Buffer.concat([begun, headers(1, hpack.connect("agent"), 0)]), bytes: many(continuation(1, many(kilobyte, 12)), 8) },
  { name: "an HPACK bomb", begin: begun, bytes: headers(1, Buffer.concat([hpack.connect("agent"), hpack.kept("a", "b".repeat(4_000)), many(hpack.indexed(newest), 8_000)])) },
  { name: "trailers without end", begin: Buffer.concat([begun, opened]), bytes: many(headers(1, hpack.plain("a", "b"))) },
  { name: "empty DATA", begin: Buffer.concat([begun, opened]), bytes: many(data(1, Buffer.alloc(0))) },
  { name: "DATA of one byte", begin: Buffer.concat([begun, opened]), bytes: many(data(1, Buffer.from("x"))) },
  { name: "padded DATA of one byte", begin: Buffer.concat([begun, opened]), bytes: many(padded(1, Buffer.from("x"), 255)) },
  { name: "DATA beyond the window", begin: Buffer.concat([begun, opened]), bytes: many(data(1, Buffer.alloc(16_384)), 16) },
];

interface Outcome {
  readonly attack: Attack;
  dials: number;
  cutMs: number | undefined;
}

const listen = async (server: Server): Promise<string> => {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const bound = server.address();
  assert.ok(bound !== null && typeof bound === "object");
  return `127.0.0.1:${bound.port}`;
};
const strike = async (
  socket: Socket,
  { answer = accepted, begin, bytes }: Attack,
): Promise<void> => {
  socket.write(answer);
  if (begin) socket.write(begin);
  const deadline = performance.now() + boundMs;
  while (bytes && !socket.destroyed && performance.now() < deadline)
    if (!socket.write(bytes)) await drained(socket);
};

const outcomes = new Map<string, Outcome>();
const strangers: string[] = [];
const taken = new Set<Socket>();
let mostTaken = 0;
let home: Home;
let connector: Program;
let gateway: Server;
let agent: Server;
/** Each ends when the attack that is under way in it does. */
const lanes: Promise<void>[] = Array.from({ length: 4 }, () => Promise.resolve());
let attacked = 0;

/** A few at a time; who dials again is told to come later. */
const receive = async (socket: Socket, outcome: Outcome): Promise<void> => {
  outcome.dials += 1;
  if (outcome.dials > 1)
    return void socket.end("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
  const lane = attacked++ % lanes.length;
  const before = lanes[lane];
  const mine = Promise.withResolvers<void>();
  lanes[lane] = mine.promise;
  await before;
  const beganMs = performance.now();
  socket.once("close", () => {
    outcome.cutMs = performance.now() - beganMs;
    mine.resolve();
  });
  const giveUp = setTimeout(() => mine.resolve(), boundMs);
  await strike(socket, outcome.attack);
  await mine.promise;
  clearTimeout(giveUp);
};

before(async () => {
  elsewhere = createServer((socket) => {
    strangers.push(String(socket.remotePort));
    socket.destroy();
  });
  elsewhereAddress = await listen(elsewhere);
  agent = createServer((socket) => {
    taken.add(socket);
    mostTaken = Math.max(mostTaken, taken.size);
    socket.on("error", () => undefined);
    socket.resume();
    socket.once("close", () => taken.delete(socket));
  });
  gateway = createServer((socket) => {
    socket.on("error", () => undefined);
    let head = "";
    const heard = (chunk: Buffer): void => {
      head += chunk.toString("latin1");
      if (!head.includes("\r\n\r\n")) return;
      const id = /^x-serai-node: (\S+)/im.exec(head)?.[1];
      const outcome = outcomes.get(id ?? "");
      if (outcome === undefined) return;
      socket.off("data", heard);
      socket.resume();
      void receive(socket, outcome);
    };
    socket.on("data", heard);
  });
  const [agentAddress, gatewayAddress] = [await listen(agent), await listen(gateway)];
  for (const attack of attacks())
    outcomes.set(randomUUID(), { attack, dials: 0, cutMs: undefined });
  home = createHome();
  const file = path.join(home.directory, "connect.yaml");
  writeFileSync(
    file,
    stringify({
      gateways: [`http://${gatewayAddress}`],
      join_token: home.secrets.join,
      agents: [...outcomes.keys()].map((id) => ({ node_id: id, address: agentAddress })),
      max_connections: maxConnections,
    }),
    { mode: 0o600 },
  );
  connector = home.spawn(["connect", "--config", file]);
});
after(async () => {
  await home[Symbol.asyncDispose]();
  for (const server of [gateway, agent, elsewhere]) server.close();
  for (const socket of taken) socket.destroy();
});

describe("a gateway that sends", () => {
  for (const { name } of attacks())
    test(`${name}, is cut`, async (t) => {
      const of = [...outcomes.values()].find(({ attack }) => attack.name === name);
      const cutMs = await until("it is cut", () => of?.cutMs, 60_000);
      t.diagnostic(`after ${cutMs.toFixed(0)} ms`);
      assert.ok(cutMs < boundMs, String(cutMs));
    });
});

test("none of them makes it dial without a pause, or ends it", async () => {
  const dials = (): readonly number[] => [...outcomes.values()].map((one) => one.dials);
  await until("the first have been dialled again", () => dials().some((count) => count > 2));
  for (const { attack, dials: count } of outcomes.values())
    assert.ok(count < 40, `${attack.name}: ${count}`);
  assert.equal(connector.child.exitCode, null, connector.errors.join("\n"));
  assert.deepEqual(connector.errors, []);
});

test("none of them reaches anything but its agent, of which it asks no more than it may", () => {
  assert.deepEqual(strangers, []);
  assert.ok(mostTaken > 0 && mostTaken <= maxConnections, String(mostTaken));
});

test("all of them together leave it as small as it was", async (t) => {
  await until("its connections are closed", () => taken.size === 0);
  const mib = statusKb(connector.pid, "RssAnon") / 1_024;
  t.diagnostic(`${mib.toFixed(0)} MiB of its own after all, ${mostTaken} connections at most`);
  assert.ok(mib < 192, String(mib));
});
