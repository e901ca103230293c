/** Each way a server can answer wrongly, and what the caller sees of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { faultyAgent } from "../../support/faulty-agent.ts";
import { get, rawRequest } from "../../support/raw-client.ts";
import { type FaultName, faults } from "../fault-scripts.ts";
import { eventually } from "../front.ts";
import { gateTo } from "./gate.ts";

/** `<status> <end> <code>`. */
type Expected = string;

const invalid = "502 whole upstream_invalid";
const broke = "502 whole upstream_broke";
const timeout = "504 whole upstream_timeout";
const cutBroke = "200 cut upstream_broke";
const fine = "200 whole -";

const expected: readonly (readonly [fault: FaultName, expect: Expected])[] = [
  ["it closes without a word", broke],
  ["it resets without a word", broke],
  ["it never answers", timeout],
  ["it sends half a head and waits", timeout],
  ["it sends half a head and closes", broke],
  ["it sends interim answers and nothing else", timeout],
  ["it says garbage", invalid],
  ["status 099", invalid],
  ["status 999", invalid],
  ["status 1000", invalid],
  ["a redirect to another host", invalid],
  ["a redirect to another host without a scheme", invalid],
  ["a 101 to a GET", broke],
  ["a reason with control and high bytes", fine],
  ["length and chunks at once", invalid],
  ["two lengths", invalid],
  ["a length that is no number", invalid],
  ["neither a length nor chunks", invalid],
  ["a body shorter than its length", cutBroke],
  ["a body longer than its length", fine],
  ["204 with a body", "204 whole -"],
  ["a bad chunk", "200 cut upstream_invalid"],
  ["a header of 20 KiB", invalid],
  ["a control byte in a header", invalid],
  ["two answers to one request", fine],
  ["a Trailer header and trailers", fine],
  ["a Trailer header beside a length", fine],
  ["it closes inside a chunked body", cutBroke],
  ["it resets inside a body", cutBroke],
]; // biome-ignore format: a table

const withheld = ["trailer", "set-cookie", "upgrade", "proxy-authenticate", "location"];

for (const [fault, expect] of expected)
  test(`${fault}: ${expect}`, { timeout: 20_000 }, async () => {
    await using server = await faultyAgent(faults[fault]);
    await using gate = await gateTo([server.address], { headMs: 400 });
    const answer = await rawRequest(gate.port, get("/v1/jobs"));
    const end = await gate.ended();
    assert.equal(`${answer.status} ${answer.end} ${end}`, expect);
    for (const name of withheld) assert.equal(answer.headers.get(name), undefined, name);
    if (answer.status === 504 || answer.end === "cut") await eventually(() => server.open, 0);
    assert.equal(server.requests.length, 1);
  });
