/** What an agent says in records is believed only as far as it can be, and a viewer gets it as if it had come plain or in frames. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { enteredRecord, toldRecord } from "../../../src/logs/records.ts";
import { faultyAgent } from "../../support/faulty-agent.ts";
import { get, rawRequest } from "../../support/raw-client.ts";
import { eventually, front, nodeAt, pathOf } from "../front.ts";

const head =
  "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Serai-Form: records\r\nTransfer-Encoding: chunked\r\n\r\n";
const chunk = (bytes: Buffer): Buffer =>
  Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from("\r\n")]);
const over = Buffer.from("0\r\n\r\n");

const entered = (index: number, missing?: string): Buffer =>
  Buffer.from(
    enteredRecord({ file: `alloc/logs/web.stdout.${index}`, index, inode: "7", offset: 0, size: 0, missing }),
  ); // biome-ignore format: a row
const told = (text: string, end = text.length): Buffer =>
  toldRecord({ bytes: Buffer.from(text), end, size: end, event: undefined });

/** The answer of an agent that says these records, each in a chunk. */
const watched = async (records: readonly Buffer[], query = "", version = "HTTP/1.1") => {
  const answer = Buffer.concat([Buffer.from(head), ...records.map(chunk), over]);
  await using agent = await faultyAgent(({ socket }) => socket.write(answer));
  await using gate = await front({ route: "fs.logs", node: nodeAt(agent.address) });
  const asked = get(`${pathOf("fs.logs")}${query}`).replace("HTTP/1.1", version);
  const { body, end } = await rawRequest(gate.port, asked);
  const { error, tally } = await gate.ended();
  await eventually(() => agent.open <= 1, true); // a connection that is kept
  return { text: body.toString(), end, code: error?.code, bytesOut: tally.bytesOut };
};

test("frames are made as the agent itself makes them", async () => {
  const { text, end, bytesOut } = await watched([entered(0), told("abc"), entered(1), told("d")]);
  const frames =
    '{"Data":"YWJj","File":"alloc/logs/web.stdout.0","Offset":3}{"Data":"ZA==","File":"alloc/logs/web.stdout.1","Offset":1}';
  assert.equal(text, frames);
  assert.equal(end, "whole");
  assert.equal(bytesOut, frames.length);
});

test("plain bytes come as they are, to HTTP/1.0 without chunks", async () => {
  const records = [entered(0), told("abc"), entered(1), told("d")];
  assert.equal((await watched(records, "&plain=true")).text, "abcd");
  const old = await watched(records, "&plain=true", "HTTP/1.0");
  assert.equal(old.text, "abcd");
});

test("what is missing is told in frames to who asked for tokens, and cuts a plain answer", async () => {
  const records = [entered(0), told("abc"), entered(3, "web.stdout.1 to 2"), told("d")];
  const framed = await watched(records, "&resume=true");
  assert.match(
    framed.text,
    /"Offset":3\}\{"Resume":"\w+"\}\{"Lost":"web.stdout.1 to 2"\}\{"Data":"ZA=="/,
  );
  assert.equal(framed.end, "whole");
  const plain = await watched(records, "&resume=true&plain=true");
  assert.deepEqual([plain.text, plain.end, plain.code], ["abc", "cut", "gone"]);
  const asNomad = await watched(records, "&plain=true");
  assert.deepEqual([asNomad.text, asNomad.end], ["abcd", "whole"]);
});

const wrong: readonly (readonly [name: string, records: readonly Buffer[]])[] = [
  ["is no record", [entered(0), told("abc"), Buffer.from("hello\n")]],
  ["ends within a record", [entered(0), told("abc"), told("defg").subarray(0, -1)]],
  ["is of no file", [told("abc")]],
];
for (const [name, records] of wrong)
  test(`an answer that ${name} is cut`, async () => {
    const { end, code, text } = await watched(records, "&plain=true");
    assert.equal(end, "cut");
    assert.equal(code, "upstream_invalid");
    assert.ok("abc".startsWith(text));
  });
