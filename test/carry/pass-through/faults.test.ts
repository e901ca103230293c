/** Each way a server can answer wrongly, and what the caller sees of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { faultyAgent, type Heard, type Script } from "../../support/faulty-agent.ts";
import { get, rawRequest } from "../../support/raw-client.ts";
import { eventually } from "../front.ts";
import { gateTo } from "./gate.ts";

const ok = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";
const say =
  (...texts: readonly string[]): Script =>
  ({ socket }: Heard) => {
    for (const text of texts) socket.write(text, "latin1");
  };
const sayAndEnd =
  (text: string): Script =>
  ({ socket }) =>
    socket.end(text, "latin1");
const sayAndReset =
  (text: string): Script =>
  ({ socket }) =>
    socket.write(text, "latin1", () => setImmediate(() => socket.resetAndDestroy()));

interface Fault {
  readonly name: string;
  readonly script: Script;
  /** `<status> <end> <code>`. */
  readonly expect: string;
}

const invalid = "502 whole upstream_invalid";
const broke = "502 whole upstream_broke";
const timeout = "504 whole upstream_timeout";
const cutBroke = "200 cut upstream_broke";
const fine = "200 whole -";

const faults: readonly Fault[] = [
  { name: "it closes without a word", script: ({ socket }) => socket.end(), expect: broke },
  { name: "it resets without a word", script: ({ socket }) => socket.resetAndDestroy(), expect: broke },
  { name: "it never answers", script: () => undefined, expect: timeout },
  { name: "it sends half a head and waits", script: say("HTTP/1.1 200 OK\r\nContent-"), expect: timeout },
  { name: "it sends half a head and closes", script: sayAndEnd("HTTP/1.1 200 OK\r\nContent-"), expect: broke },
  { name: "it sends interim answers and nothing else", script: say("HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 103 Early\r\n\r\n"), expect: timeout },
  { name: "it says garbage", script: sayAndEnd("SSH-2.0-OpenSSH_9.2\r\n\r\n"), expect: invalid },
  { name: "status 099", script: say("HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n"), expect: invalid },
  { name: "status 999", script: say("HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n"), expect: invalid },
  { name: "status 1000", script: say("HTTP/1.1 1000 X\r\nContent-Length: 0\r\n\r\n"), expect: invalid },
  { name: "a redirect to another host", script: say("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"), expect: invalid },
  { name: "a redirect to another host without a scheme", script: say("HTTP/1.1 302 Found\r\nLocation: /\\evil/\r\nContent-Length: 0\r\n\r\n"), expect: invalid },
  { name: "a 101 to a GET", script: say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), expect: broke },
  { name: "a reason with control and high bytes", script: say("HTTP/1.1 200 a\x01\xe9b\r\nContent-Length: 2\r\n\r\nok"), expect: fine },
  { name: "length and chunks at once", script: say(`${ok}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`), expect: invalid },
  { name: "two lengths", script: say(`${ok}Content-Length: 2\r\nContent-Length: 3\r\n\r\nok!`), expect: invalid },
  { name: "a length that is no number", script: say(`${ok}Content-Length: 2x\r\n\r\nok`), expect: invalid },
  { name: "neither a length nor chunks", script: sayAndEnd(`${ok}\r\nok`), expect: invalid },
  { name: "a body shorter than its length", script: sayAndEnd(`${ok}Content-Length: 10\r\n\r\nok`), expect: cutBroke },
  { name: "a body longer than its length", script: say(`${ok}Content-Length: 2\r\n\r\nokmore`), expect: fine },
  { name: "204 with a body", script: say("HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok"), expect: "204 whole -" },
  { name: "a bad chunk", script: say(`${ok}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\nxyz\r\n`), expect: "200 cut upstream_invalid" },
  { name: "a header of 20 KiB", script: say(`${ok}X-Big: ${"a".repeat(20_480)}\r\nContent-Length: 0\r\n\r\n`), expect: invalid },
  { name: "a control byte in a header", script: say("HTTP/1.1 200 OK\r\nContent-Type: a\x01\r\nContent-Length: 0\r\n\r\n"), expect: invalid },
  { name: "two answers to one request", script: say(`${ok}Content-Length: 2\r\n\r\nok${ok}Content-Length: 4\r\n\r\nevil`), expect: fine },
  { name: "a Trailer header and trailers", script: say(`${ok}Trailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n`), expect: fine },
  { name: "a Trailer header beside a length", script: say(`${ok}Trailer: X-T\r\nContent-Length: 2\r\n\r\nok`), expect: fine },
  { name: "it closes inside a chunked body", script: sayAndEnd(`${ok}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n`), expect: cutBroke },
  { name: "it resets inside a body", script: sayAndReset(`${ok}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n`), expect: cutBroke },
]; // biome-ignore format: a table

const withheld = ["trailer", "set-cookie", "upgrade", "proxy-authenticate", "location"];

for (const fault of faults)
  test(`${fault.name}: ${fault.expect}`, { timeout: 20_000 }, async () => {
    await using server = await faultyAgent(fault.script);
    await using gate = await gateTo([server.address], { headMs: 400 });
    const answer = await rawRequest(gate.port, get("/v1/jobs"));
    const end = await gate.ended();
    assert.equal(`${answer.status} ${answer.end} ${end}`, fault.expect);
    for (const name of withheld) assert.equal(answer.headers.get(name), undefined, name);
    if (answer.status === 504 || answer.end === "cut") await eventually(() => server.open, 0);
    assert.equal(server.requests.length, 1);
  });
