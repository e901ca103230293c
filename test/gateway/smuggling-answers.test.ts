/** What a hostile agent may answer: its caller gets a proper 502 or a cut body, and the next request is fine. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { Socket } from "node:net";
import { after, before, describe, test } from "node:test";
import { get, type RawAnswer, rawRequest } from "../support/raw-client.ts";
import { type Rig, startRig } from "../support/rig.ts";
import { joinScriptedNode, type ScriptedNode, text } from "../support/scripted-node.ts";
import { execClient } from "../support/ws-client.ts";

let rig: Rig;
let node: ScriptedNode;
let port = 0;
let token = "";

before(async () => {
  rig = await startRig({ settings: { timeouts: { first_byte: "400ms", idle: "1s" } } });
  node = await joinScriptedNode(rig, (socket) => void socket.write(text("fine")));
  port = Number(new URL(rig.url).port);
  token = rig.secret("management");
});
after(async () => {
  await node[Symbol.asyncDispose]();
  await rig[Symbol.asyncDispose]();
});

const crlf = "\r\n";
const answer = (...lines: readonly string[]): string => `${lines.join(crlf)}${crlf}`;
const ok = "HTTP/1.1 200 OK";

const say =
  (bytes: string) =>
  (socket: Socket): void =>
    void socket.write(Buffer.from(bytes, "latin1"));
const sayAndEnd =
  (bytes: string) =>
  (socket: Socket): void =>
    void socket.end(Buffer.from(bytes, "latin1"));

type Outcome = 502 | 504 | "cut" | { readonly status: number; readonly body: string };
const whole = (body: string, status = 200): Outcome => ({ status, body });

interface Case {
  readonly name: string;
  readonly script: (socket: Socket) => void;
  /** Of a short call and of a stream, where the head goes out before the body is known. */
  readonly short: Outcome;
  readonly stream: Outcome;
}

const both = (name: string, script: Case["script"], outcome: Outcome): Case => ({
  name,
  script,
  short: outcome,
  stream: outcome,
});

const cases: readonly Case[] = [
  both("a Trailer beside a length", say(answer(ok, "Trailer: X", "Content-Length: 5", "", "whole").slice(0, -2)), whole("whole")),
  both("trailers behind chunks", say(answer(ok, "Trailer: X-Evil", "Transfer-Encoding: chunked", "", "5", "whole", "0", "X-Evil: 1", "")), whole("whole")),
  both("status 099", say(answer("HTTP/1.1 099 Odd", "Content-Length: 0", "")), 502),
  both("status 999", say(answer("HTTP/1.1 999 Odd", "Content-Length: 0", "")), 502),
  both("status 1000", say(answer("HTTP/1.1 1000 Odd", "Content-Length: 0", "")), 502),
  both("status 000", say(answer("HTTP/1.1 000 Odd", "Content-Length: 0", "")), 502),
  both("a status that is no number", say(answer("HTTP/1.1 abc Odd", "Content-Length: 0", "")), 502),
  both("a redirect", say(answer("HTTP/1.1 302 Found", "Location: http://evil.example/", "Content-Length: 0", "")), 502),
  both("a redirect that keeps the method", say(answer("HTTP/1.1 307 Temporary Redirect", "Location: //evil.example/", "Content-Length: 0", "")), 502),
  both("101 to a GET", say(answer("HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: websocket", "")), 502),
  both("401", say(answer("HTTP/1.1 401 Unauthorized", "WWW-Authenticate: Basic", "Content-Length: 0", "")), 502),
  both("a version of its own", say(answer("HTTP/2.0 200 OK", "Content-Length: 0", "")), 502),
  both("Transfer-Encoding beside a length", say(answer(ok, "Transfer-Encoding: chunked", "Content-Length: 5", "", "5", "whole", "0", "")), 502),
  both("two lengths that differ", say(answer(ok, "Content-Length: 5", "Content-Length: 6", "", "wholes").slice(0, -2)), 502),
  both("a negative length", say(answer(ok, "Content-Length: -5", "", "whole")), 502),
  both("a length with a word", say(answer(ok, "Content-Length: 5x", "", "whole")), 502),
  both("a header of 20 KiB", say(answer(ok, `X-Nomad-Big: ${"a".repeat(20_480)}`, "Content-Length: 0", "")), 502),
  both("a NUL in a header", say(answer(ok, "X-Nomad-A: a\0b", "Content-Length: 0", "")), 502),
  both("a bare CR in a header", say(answer(ok, "X-Nomad-A: a\rSet-Cookie: b", "Content-Length: 0", "")), 502),
  both("a header above 0x7e that would be passed on", say(answer(ok, "X-Nomad-A: caf\xe9", "Content-Length: 0", "")), 502),
  both("garbage", say("SSH-2.0-OpenSSH_9.2\r\n"), 502),
  both("nothing", sayAndEnd(""), 502),
  both("half a head", sayAndEnd("HTTP/1.1 200 OK\r\nContent-Le"), 502),
  both("a reset", (socket) => void socket.resetAndDestroy(), 502),
  both("silence", () => undefined, 504),
  both("half a head and silence", say("HTTP/1.1 200 OK\r\nContent-Le"), 504),
  { name: "less than its length", script: sayAndEnd(answer(ok, "Content-Length: 50", "", "part").slice(0, -2)), short: 502, stream: "cut" },
  { name: "a chunk that is broken", script: say(answer(ok, "Transfer-Encoding: chunked", "", "4", "part", "zz", "")), short: 502, stream: "cut" },
  { name: "chunks without an end", script: sayAndEnd(answer(ok, "Transfer-Encoding: chunked", "", "4", "part")), short: 502, stream: "cut" },
  both("more than its length", say(answer(ok, "Content-Length: 5", "", "wholeHTTP/1.1 200 OK", "Content-Length: 4", "", "evil")), whole("whole")),
  both("two answers to one request", say(text("whole") + text("evil")), whole("whole")),
  both("a body behind 204", say(`${answer("HTTP/1.1 204 No Content", "")}${text("evil")}`), whole("", 204)),
  both("a hundred interim answers first", say("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".repeat(100) + text("whole")), whole("whole")),
]; // biome-ignore format: a table

const target = (what: string): string => `/v1/client/fs/${what}/${node.allocationId}?path=%2Ffile`;
const ask = (what: string, more = ""): Promise<RawAnswer> =>
  rawRequest(port, get(target(what), `X-Nomad-Token: ${token}\r\n${more}`));

const check = (got: RawAnswer, outcome: Outcome): void => {
  for (const name of [
    "set-cookie",
    "location",
    "trailer",
    "x-evil",
    "www-authenticate",
    "link",
    "upgrade",
  ])
    assert.equal(got.headers.get(name), undefined, name);
  if (outcome === "cut") {
    assert.equal(got.status, 200);
    assert.notEqual(got.end, "whole");
    assert.equal(got.body.toString(), "part");
    return;
  }
  assert.equal(got.end, "whole");
  if (typeof outcome === "object") {
    assert.deepEqual([got.status, got.body.toString()], [outcome.status, outcome.body]);
    return;
  }
  assert.equal(got.status, outcome, got.body.toString());
  assert.ok(got.body.toString().includes(node.name), got.body.toString());
};

describe("an agent answers", () => {
  for (const { name, script, short, stream } of cases)
    test(`${name}: the caller gets what is proper, the next one its own`, async () => {
      for (const [what, outcome] of [
        ["stat", short],
        ["cat", stream],
      ] as const) {
        // biome-ignore format: a row
        node.forget();
        node.answer = script;
        check(await ask(what), outcome);
        node.answer = say(text("fine"));
        const next = await ask(what);
        assert.deepEqual([next.status, next.body.toString()], [200, "fine"], `after ${what}`);
      }
    });

  test("headers that are not on the list: none arrives", async () => {
    node.answer = say(
      answer(
        ok,
        "Set-Cookie: a=b",
        "Access-Control-Allow-Origin: *",
        "Strict-Transport-Security: max-age=1",
        "Server: x",
        "ETag: y",
        "Connection: close, X-Nomad-A",
        "Keep-Alive: timeout=9",
        "X-Nomad-Token: stolen",
        "Content-Type: text/html",
        "Content-Length: 2",
        "",
        "ok",
      ).slice(0, -2),
    );
    const got = await ask("cat");
    assert.equal(got.status, 200);
    for (const name of [
      "set-cookie",
      "access-control-allow-origin",
      "strict-transport-security",
      "server",
      "etag",
      "x-nomad-token",
    ])
      assert.equal(got.headers.get(name), undefined, name);
    assert.equal(got.headers.get("content-type"), "text/plain");
    assert.equal(got.headers.get("content-security-policy")?.includes("sandbox"), true);
  });

  test("a body that stands still is given up and cut", async () => {
    node.answer = say(answer(ok, "Content-Length: 50", "", "part").slice(0, -2));
    check(await ask("stat"), 504);
    node.answer = say(text("fine"));
  });
});

describe("an agent's answer to an exec", () => {
  const rows: readonly (readonly [name: string, bytes: string, code: number])[] = [
    ["200", text("no socket"), 1011],
    ["a redirect", answer("HTTP/1.1 302 Found", "Location: http://evil.example/", "Content-Length: 0", ""), 1011],
    ["403", text("Permission denied", "403 Forbidden"), 1011],
    ["a wrong Accept", answer("HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Accept: AAAA", ""), 1011],
    ["garbage", "nonsense\r\n\r\n", 1011],
    ["silence", "", 1013],
  ]; // biome-ignore format: a table
  for (const [name, bytes, code] of rows)
    test(`${name}: close ${code}, and nothing more is sent to it`, async () => {
      node.forget();
      node.answer = say(bytes);
      const client = execClient({
        url: rig.url,
        allocation: node.allocationId,
        token,
        task: "server",
        command: ["true"],
        first: [{ stdin: { data: "eA==" } }],
      });
      assert.equal((await client.closed).code, code);
      const [heard = "", ...more] = node.heard();
      assert.ok(heard.endsWith("\r\n\r\n"), "the request's head alone");
      assert.deepEqual(more, []);
      node.answer = say(text("fine"));
    });
});

describe("an agent's frames that nobody should send", () => {
  const accept = (head: string): string =>
    createHash("sha1")
      .update(
        `${/^sec-websocket-key: (.*)\r$/im.exec(head)?.[1]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`,
      )
      .digest("base64");
  const upgraded =
    (frames: Buffer) =>
    (socket: Socket, head: string): void => {
      const lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Connection: Upgrade",
        "Upgrade: websocket",
        `Sec-WebSocket-Accept: ${accept(head)}`,
        "",
        "",
      ];
      socket.write(Buffer.concat([Buffer.from(lines.join(crlf)), frames]));
    };
  const bytes = (...all: readonly number[]): Buffer => Buffer.from(all);
  const text = bytes(0x81, 0x02, 0x7b, 0x7d);
  const rows: readonly (readonly [name: string, frames: Buffer, code: number, reason: string | undefined])[] = [
    ["a reserved bit", bytes(0xc1, 0x02, 0x7b, 0x7d), 1011, undefined],
    ["a mask", bytes(0x81, 0x82, 0, 0, 0, 0, 0x7b, 0x7d), 1011, undefined],
    ["bad UTF-8", bytes(0x81, 0x02, 0xc0, 0xaf), 1011, undefined],
    ["a length of 2^63", bytes(0x81, 0x7f, 0x80, 0, 0, 0, 0, 0, 0, 0), 1011, undefined],
    ["a length of 2 MiB", bytes(0x81, 0x7f, 0, 0, 0, 0, 0, 0x20, 0, 0), 1011, undefined],
    ["a thousand fragments", Buffer.concat([bytes(0x01, 0x01, 0x7b), ...Array.from({ length: 1_000 }, () => bytes(0x00, 0x01, 0x20))]), 1011, undefined],
    ["a close of its own, after output", Buffer.concat([text, bytes(0x88, 0x05, 0x0f, 0xa1, 0x62, 0x79, 0x65)]), 4001, "bye"],
    ["a close without a code", bytes(0x88, 0x00), 1000, "exit status unknown"],
  ]; // biome-ignore format: a table
  for (const [name, frames, code, reason] of rows)
    test(`${name}: close ${code} for the caller`, async () => {
      node.forget();
      node.answer = upgraded(frames);
      const client = execClient({
        url: rig.url,
        allocation: node.allocationId,
        token,
        task: "server",
        command: ["true"],
      });
      const closed = await client.closed;
      assert.equal(closed.code, code, closed.reason);
      if (reason === undefined) assert.ok(closed.reason.includes(node.name), closed.reason);
      else assert.equal(closed.reason, reason);
      node.answer = say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine");
      assert.equal((await ask("stat")).body.toString(), "fine");
    });
});
