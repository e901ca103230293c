/** The ETag of a plain `cat` from an agent that sends none: what it costs, and when nobody can vouch for one. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { test } from "node:test";
import type { Limits } from "../../src/carry/carriage.ts";
import { type FaultyAgent, faultyAgent, type Heard, type Script } from "../support/faulty-agent.ts";
import { get, type RawAnswer, rawClient, rawRequest } from "../support/raw-client.ts";
import { eventually, type Front, front, nodeAt, pathOf } from "./front.ts";

const mib = 1024 * 1024;
const large = randomBytes(mib + 300_017);
/** Its end is there when its first MiB is. */
const justMore = large.subarray(0, mib + 4_096);
const answeredAt = "Thu, 26 Nov 2026 07:00:00 GMT";
const longAgo = "2026-11-26T06:58:59.5Z";

interface Told {
  readonly body: Buffer;
  /** The body's head besides what it always has. */
  readonly more?: string;
  readonly stat?: (heard: Heard) => void;
}

const describing = (size: number, time: string, isDirectory = false): string =>
  JSON.stringify({ Name: "a", IsDir: isDirectory, Size: size, FileMode: "-rw-r--r--", ModTime: time, ContentType: "" }); // biome-ignore format: a row
const says =
  (text: string, status = "200 OK") =>
  ({ socket }: Heard): void => {
    socket.write(`HTTP/1.1 ${status}\r\nContent-Length: ${text.length}\r\n\r\n${text}`);
  };

const head = (more = `Date: ${answeredAt}\r\n`): string =>
  `HTTP/1.1 200 OK\r\nContent-Security-Policy: sandbox\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n${more}\r\n`;

const pieceBytes = 32 * 1024;
const sendBody = (socket: Heard["socket"], body: Buffer): void => {
  for (let at = 0; at < body.length; at += pieceBytes) {
    const piece = body.subarray(at, at + pieceBytes);
    socket.write(Buffer.concat([Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from("\r\n")]));
  }
}; // biome-ignore format: a row
const over = "0\r\n\r\n";

const nomad =
  ({ body, more, stat = says(describing(body.length, longAgo)) }: Told): Script =>
  (heard) => {
    if (heard.head.includes("/stat/")) return stat(heard);
    heard.socket.write(head(more), "latin1");
    sendBody(heard.socket, body);
    heard.socket.write(over);
  };

/** Patient, but where a test is about patience. */
const gateBefore = ({ address }: FaultyAgent, limits: Partial<Limits> = {}): Promise<Front> =>
  front({
    route: "fs.cat",
    node: nodeAt(address),
    limits: { quickMs: 10_000, ...limits },
    reach: { streamConnections: 200 },
  });

const ask = (gate: Front, method = "GET"): Promise<RawAnswer> =>
  rawRequest(gate.port, get(pathOf("fs.cat")).replace(/^GET/, method));
const operations = (requests: readonly string[]): readonly string[] =>
  requests.map((one) => one.split("/")[4] ?? "");

test("a body over a MiB has the ETag that a range has too, for one stat", async () => {
  await using agent = await faultyAgent(nomad({ body: large }));
  await using gate = await gateBefore(agent);
  const got = await ask(gate);
  assert.equal(`${got.status} ${got.end}`, "200 whole");
  assert.ok(got.body.equals(large));
  assert.deepEqual(operations(agent.requests), ["cat", "stat"]);
  const { tally } = await gate.ended();
  assert.equal(tally.bytesOut, large.length);
  const range = get(pathOf("fs.cat"), `Range: bytes=${large.length}-\r\n`);
  const { status, headers } = await rawRequest(gate.port, range);
  assert.equal(status, 416);
  assert.match(got.headers.get("etag") ?? "", /^"\d+-\d+\.5/);
  assert.equal(got.headers.get("etag"), headers.get("etag"));
});

test("an answer that was held goes on in the chunks that its agent has sent", async () => {
  const sizes = (bytes: Buffer): readonly string[] => {
    const found: string[] = [];
    for (let at = bytes.indexOf("\r\n\r\n") + 4; at < bytes.length; ) {
      const size = bytes.toString("latin1", at, bytes.indexOf("\r\n", at));
      found.push(size);
      at += size.length + 2 + Number.parseInt(size, 16) + 2;
    }
    return found;
  };
  await using agent = await faultyAgent(nomad({ body: large }));
  await using gate = await gateBefore(agent);
  const client = rawClient(gate.port, get(pathOf("fs.cat")));
  const { body, end, headers } = await client.answer();
  assert.ok(end === "whole" && body.equals(large) && headers.has("etag"));
  const whole = Array.from({ length: Math.floor(large.length / pieceBytes) }, () => "8000");
  const last = (large.length % pieceBytes).toString(16);
  assert.deepEqual(sizes(client.received()), [...whole, last, "0"]);
});

test("a caller of HTTP/1.0 gets the bytes alone, with their ETag", async () => {
  await using agent = await faultyAgent(nomad({ body: large }));
  await using gate = await gateBefore(agent);
  const got = await rawRequest(gate.port, get(pathOf("fs.cat")).replace("HTTP/1.1", "HTTP/1.0"));
  assert.equal(`${got.status} ${got.end} ${got.headers.get("transfer-encoding")}`, "200 whole undefined"); // biome-ignore format: a row
  assert.ok(got.body.equals(large) && got.headers.has("etag"));
});

for (const [when, before] of [
  ["in what is held", 300_000],
  ["behind what was held", large.length],
] as const)
  test(`a chunk that is none ${when} is never the end of a file`, async () => {
    await using agent = await faultyAgent((heard) => {
      if (heard.head.includes("/stat/")) return says(describing(large.length, longAgo))(heard);
      heard.socket.write(head());
      sendBody(heard.socket, large.subarray(0, before));
      heard.socket.write("zz\r\n");
    });
    await using gate = await gateBefore(agent);
    const got = await ask(gate);
    const { error } = await gate.ended();
    assert.equal(error?.code, "upstream_invalid");
    if (before < mib) assert.equal(got.status, 502);
    else assert.ok(got.end !== "whole" && large.subarray(0, got.body.length).equals(got.body));
  });

test("a body of a MiB stays one request, without an ETag", async () => {
  await using agent = await faultyAgent(nomad({ body: large.subarray(0, mib) }));
  await using gate = await gateBefore(agent);
  const got = await ask(gate);
  assert.equal(`${got.status} ${got.end} ${got.headers.get("etag")}`, "200 whole undefined");
  assert.ok(got.body.equals(large.subarray(0, mib)));
  assert.deepEqual(operations(agent.requests), ["cat"]);
});

for (const { name, more, stat } of [
  { name: "changed within the minute before", stat: says(describing(large.length, "2026-11-26T06:59:30Z")) },
  { name: "is dated later than the answer", stat: says(describing(large.length, "2026-11-26T09:00:00Z")) },
  { name: "is shorter than what came of it", stat: says(describing(mib, longAgo)) },
  { name: "is a directory by now", stat: says(describing(large.length, longAgo, true)) },
  { name: "is gone", stat: says("stat /a: no such file or directory", "404 Not Found") },
  { name: "may not be described", stat: says("Permission denied", "403 Forbidden") },
  { name: "is described in no proper way", stat: says("[]") },
  { name: "comes from an agent without a clock", more: "" },
  { name: "has its agent break off the description", stat: ({ socket }: Heard) => void socket.destroy() },
]) // biome-ignore format: a table
  test(`a file that ${name} comes whole, without an ETag`, async () => {
    const told = { body: large, ...(stat && { stat }), ...(more !== undefined && { more }) };
    await using agent = await faultyAgent(nomad(told));
    await using gate = await gateBefore(agent);
    const got = await ask(gate);
    assert.equal(`${got.status} ${got.end} ${got.headers.get("etag")}`, "200 whole undefined");
    assert.ok(got.body.equals(large));
  });

test("a description that does not come holds nothing up for long", async () => {
  await using agent = await faultyAgent(nomad({ body: large, stat: () => undefined }));
  await using gate = await gateBefore(agent, { lookMs: 50 });
  const got = await ask(gate);
  assert.equal(`${got.status} ${got.end} ${got.headers.get("etag")}`, "200 whole undefined");
  assert.ok(got.body.equals(large));
});

test("what comes slowly is passed on before its first MiB is there", async () => {
  await using agent = await faultyAgent(({ socket }) => {
    socket.write(head());
    sendBody(socket, Buffer.from("first"));
  });
  await using gate = await gateBefore(agent, { quickMs: 50 });
  const client = rawClient(gate.port, get(pathOf("fs.cat")));
  await eventually(() => client.received().toString("latin1").includes("first"), true);
  client.socket.destroy();
  await gate.ended();
  await agent.idle();
});

test("an agent that breaks off before anything was sent is a refusal", async () => {
  await using agent = await faultyAgent(({ socket }) => {
    socket.write(head());
    sendBody(socket, Buffer.from("first"));
    socket.end();
  });
  await using gate = await gateBefore(agent);
  const got = await ask(gate);
  assert.equal(`${got.status} ${got.headers.get("x-serai-error")}`, "502 upstream_broke");
});

for (const [name, stops] of [
  ["its first MiB is awaited", (socket: Heard["socket"]) => sendBody(socket, Buffer.from("x"))],
  ["its description is awaited", (socket: Heard["socket"]) => sendBody(socket, large)],
] as const)
  test(`a caller that leaves while ${name} leaves nothing open`, async () => {
    await using agent = await faultyAgent((heard) => {
      if (heard.head.includes("/stat/")) return;
      heard.socket.write(head());
      stops(heard.socket);
    });
    await using gate = await gateBefore(agent);
    const client = rawClient(gate.port, get(pathOf("fs.cat")));
    await agent.request(stops.length > 0 && name.includes("description") ? 2 : 1);
    client.socket.destroy();
    const { error } = await gate.ended();
    assert.equal(error?.code, "client_closed");
    await agent.idle();
  });

test("a caller that leaves while all is there but the description is told of as any other", async () => {
  await using agent = await faultyAgent(nomad({ body: justMore, stat: () => undefined }));
  await using gate = await gateBefore(agent, { lookMs: 10_000 });
  const client = rawClient(gate.port, get(pathOf("fs.cat")));
  await agent.request(2);
  client.socket.destroy();
  const { error } = await gate.ended();
  assert.equal(error?.code, "client_closed");
  assert.equal(gate.reach.stats.running, 0);
});

for (const [what, more] of [
  ["an improper header", "X-Nomad-Index: \xe4\r\n"],
  ["a header said twice", "Content-Type: text/html\r\n"],
] as const)
  test(`${what} in an answer that ended while it was looked at is a refusal at once`, async () => {
    const stat = (heard: Heard): void =>
      void setTimeout(() => says(describing(justMore.length, longAgo))(heard), 50);
    await using agent = await faultyAgent(nomad({ body: justMore, more, stat }));
    await using gate = await gateBefore(agent);
    const got = await ask(gate);
    assert.equal(`${got.status} ${got.headers.get("x-serai-error")}`, "502 upstream_invalid");
  });

test("a HEAD is not held, and asks for no description", async () => {
  await using agent = await faultyAgent(nomad({ body: large }));
  await using gate = await gateBefore(agent);
  const got = await ask(gate, "HEAD");
  assert.equal(got.status, 200);
  assert.deepEqual(operations(agent.requests), ["cat"]);
});

test("no more than 32 bodies are held at one time: whoever comes beside them is passed on as it comes", async () => {
  const many = 34;
  const held: Heard["socket"][] = [];
  await using agent = await faultyAgent((heard) => {
    if (heard.head.includes("/stat/")) {
      held.push(heard.socket);
      return;
    }
    heard.socket.write(head());
    sendBody(heard.socket, large);
    heard.socket.write(over);
  });
  await using gate = await gateBefore(agent, { lookMs: 10_000 });
  const answers = Array.from({ length: many }, () => ask(gate));
  await eventually(() => held.length, 32);
  for (const socket of held) says(describing(large.length, longAgo))({ socket, head: "", nth: 0 });
  const got = await Promise.all(answers);
  assert.ok(got.every(({ body, end }) => end === "whole" && body.equals(large)));
  assert.equal(got.filter(({ headers }) => headers.has("etag")).length, 32);
  assert.equal(operations(agent.requests).filter((one) => one === "stat").length, 32);
});
