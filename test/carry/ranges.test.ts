/** Ranges of an agent that sends no ETag of its own, as Nomad's do not: how many requests they cost, and files that change. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { faultyAgent, type Heard, type Script } from "../support/faulty-agent.ts";
import { get, type RawAnswer, rawRequest } from "../support/raw-client.ts";
import { type Front, front, nodeAt, pathOf, scopeOf } from "./front.ts";

interface File {
  bytes: string;
  time: string;
}

const describing = (file: File, text = file.bytes): string =>
  JSON.stringify({ Name: "a", IsDir: false, Size: text.length, FileMode: "-rw-r--r--", ModTime: file.time, ContentType: "" }); // biome-ignore format: a row

const answer = (socket: Heard["socket"], body: string, more = ""): void => {
  socket.write(`HTTP/1.1 200 OK\r\n${more}Content-Length: ${body.length}\r\n\r\n${body}`);
};

const isFile = "Content-Security-Policy: sandbox\r\nContent-Type: text/plain\r\n";

/** Nomad's agent with one file; `after` is told of each answer. */
const nomad =
  (file: File, after: (operation: string) => void = () => undefined): Script =>
  ({ socket, head }) => {
    const { pathname, searchParams: query } = new URL(head.split(" ")[1] ?? "", "http://agent");
    const operation = pathname.split("/")[4] ?? "";
    const [offset, limit] = [Number(query.get("offset")), Number(query.get("limit"))];
    if (operation === "stat") answer(socket, describing(file));
    else if (operation === "cat") answer(socket, file.bytes, isFile);
    else answer(socket, file.bytes.slice(offset, offset + limit), isFile);
    after(operation);
  };

const fresh = (): File => ({ bytes: "0123456789", time: "2026-11-26T04:05:06.123456789+02:00" });

const ask = (gate: Front, more = ""): Promise<RawAnswer> =>
  rawRequest(gate.port, get(pathOf("fs.cat"), more));

const operations = (requests: readonly string[]): readonly string[] =>
  requests.map((head) => head.split("/")[4] ?? "");

test("a whole file is one request; a range is a look, the part, and a second look", async () => {
  await using agent = await faultyAgent(nomad(fresh()));
  await using gate = await front({ route: "fs.cat", node: nodeAt(agent.address) });
  const whole = await ask(gate);
  assert.deepEqual(operations(agent.requests), ["cat"]);
  assert.equal(whole.headers.get("accept-ranges"), "bytes");
  assert.equal(whole.headers.get("etag"), undefined);
  const part = await ask(gate, "Range: bytes=2-5\r\n");
  assert.deepEqual(operations(agent.requests), ["cat", "stat", "readat", "stat"]);
  assert.equal(`${part.status} ${part.end} ${part.body.toString()}`, "206 whole 2345");
  const { tally } = await gate.ended(2);
  assert.equal(tally.bytesOut, 4);
});

test("the ETag is one of size and time, in whatever zone it is written", async () => {
  const file = fresh();
  await using agent = await faultyAgent(nomad(file));
  await using gate = await front({ route: "fs.cat", node: nodeAt(agent.address) });
  const tag = async (): Promise<string> =>
    (await ask(gate, "Range: bytes=0-0\r\n")).headers.get("etag") ?? "";
  const first = await tag();
  assert.match(first, /^"[^"]+"$/);
  file.time = "2026-11-26T02:05:06.123456789Z";
  assert.equal(await tag(), first);
  file.time = "2026-11-26T02:05:06.12345679Z";
  assert.notEqual(await tag(), first);
  const old = await ask(gate, `Range: bytes=4-\r\nIf-Range: ${first}\r\n`);
  assert.equal(`${old.status} ${old.end} ${old.body.toString()}`, "200 whole 0123456789");
});

for (const { name, change, seen } of [
  { name: "is written anew", seen: "206 cut 234", change: (file: File) => ({ ...file, time: "2026-11-26T04:05:07Z" }) },
  { name: "grows", seen: "206 cut 234", change: (file: File) => ({ ...file, bytes: "0123456789abc" }) },
]) // biome-ignore format: a table
  test(`a file that ${name} while a part of it is read: the answer is cut before its end`, async () => {
    const file = fresh();
    const script: Script = (heard) => {
      if (!heard.head.includes("/readat/")) return nomad(file)(heard);
      heard.socket.write(`HTTP/1.1 200 OK\r\n${isFile}Content-Length: 4\r\n\r\n234`);
      Object.assign(file, change(file));
      setImmediate(() => setTimeout(() => heard.socket.write("5"), 20));
    };
    await using agent = await faultyAgent(script);
    await using gate = await front({ route: "fs.cat", node: nodeAt(agent.address) });
    const got = await ask(gate, "Range: bytes=2-5\r\n");
    assert.equal(`${got.status} ${got.end} ${got.body.toString()}`, seen);
    const { error } = await gate.ended();
    assert.match(error?.words ?? "", /the file changed while it was read/);
  });

test("an agent that is gone before the second look cuts the answer: no other way is taken for the rest", async () => {
  const agent = await faultyAgent((heard) => {
    if (!heard.head.includes("/readat/")) return nomad(fresh())(heard);
    heard.socket.write(`HTTP/1.1 200 OK\r\n${isFile}Content-Length: 4\r\n\r\n234`);
    setTimeout(() => {
      heard.socket.write("5");
      void agent[Symbol.asyncDispose]();
    }, 50);
  });
  await using server = await faultyAgent(nomad(fresh()));
  await using gate = await front({
    route: "fs.cat",
    node: nodeAt(agent.address),
    over: (direct) => ({
      ...direct,
      to: (scope, exchange) => ({
        ...direct.to(scope, exchange),
        next: async ({ code }) =>
          code === "node_unreachable"
            ? direct.to(scopeOf(exchange.route, nodeAt(server.address)), exchange)
            : undefined,
      }),
    }),
  });
  const got = await ask(gate, "Range: bytes=2-5\r\n");
  assert.equal(`${got.status} ${got.end} ${got.body.toString()}`, "206 cut 234");
  assert.equal((await gate.ended()).error?.code, "upstream_broke");
  assert.equal(server.requests.length, 0);
});

test("a file that has shrunk when its part is read is a refusal, not a shorter part", async () => {
  const file = fresh();
  const script = nomad(file, (operation) => {
    if (operation === "stat") file.bytes = "012";
  });
  await using agent = await faultyAgent(script);
  await using gate = await front({ route: "fs.cat", node: nodeAt(agent.address) });
  const got = await ask(gate, "Range: bytes=2-5\r\n");
  assert.equal(got.status, 502);
  assert.match(got.body.toString(), /the file changed while it was read/);
});

test("a part that is longer than what was asked for is cut before its end", async () => {
  const file = fresh();
  await using agent = await faultyAgent((heard) => {
    if (!heard.head.includes("/readat/")) nomad(file)(heard);
    else heard.socket.write(`HTTP/1.1 200 OK\r\n${isFile}Transfer-Encoding: chunked\r\n\r\n5\r\n23456\r\n0\r\n\r\n`);
  }); // biome-ignore format: one answer
  await using gate = await front({ route: "fs.cat", node: nodeAt(agent.address) });
  const part = await ask(gate, "Range: bytes=2-5\r\n");
  const { error } = await gate.ended(1);
  assert.equal(error?.code, "upstream_invalid");
  assert.notEqual(part.body.toString(), "2345");
});

test("words that Nomad's agent sends in place of a part, with 200, are no part", async () => {
  const script: Script = (heard) => {
    if (!heard.head.includes("/readat/")) return nomad(fresh())(heard);
    answer(heard.socket, "prohibited", "Content-Type: text/plain; charset=utf-8\r\n"); // as long as the file
  };
  await using agent = await faultyAgent(script);
  await using gate = await front({ route: "fs.cat", node: nodeAt(agent.address) });
  const got = await ask(gate, "Range: bytes=0-\r\n");
  assert.equal(`${got.status} ${got.body.toString()}`, "500 prohibited");
});

for (const [name, stat] of [
  ["no JSON", "x"],
  ["no object", "[]"],
  ["a size below 0", '{"Size":-1,"ModTime":"2026-11-26T02:05:06Z"}'],
  ["a size that is no number", '{"Size":"10","ModTime":"2026-11-26T02:05:06Z"}'],
  ["a size beyond 2^53", '{"Size":9223372036854775807,"ModTime":"2026-11-26T02:05:06Z"}'],
  ["a size of half a byte", '{"Size":10.5,"ModTime":"2026-11-26T02:05:06Z"}'],
  ["a size of more than there is", '{"Size":1e300,"ModTime":"2026-11-26T02:05:06Z"}'],
  ["a time that is none", '{"Size":10,"ModTime":"yesterday"}'],
] as const)
  test(`an agent whose stat is ${name} gave no valid answer`, async () => {
    const script: Script = ({ socket }) => answer(socket, stat);
    await using agent = await faultyAgent(script);
    await using gate = await front({ route: "fs.cat", node: nodeAt(agent.address) });
    const got = await ask(gate, "Range: bytes=0-\r\n");
    assert.equal(`${got.status} ${got.headers.get("x-serai-error")}`, "502 upstream_invalid");
  });
