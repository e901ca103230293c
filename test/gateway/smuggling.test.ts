/** What a hostile caller sends raw against a whole gateway: an agent hears one request that serai built, or not a byte. */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import fc from "fast-check";
import { sendRaw } from "../support/raw.ts";
import { rawClient } from "../support/raw-client.ts";
import { type Rig, startRig } from "../support/rig.ts";
import { joinScriptedNode, type ScriptedNode, text } from "../support/scripted-node.ts";

let rig: Rig;
let node: ScriptedNode;
let port = 0;
let token = "";

before(async () => {
  rig = await startRig({ settings: { limits: { max_header: "64KiB" } } });
  node = await joinScriptedNode(rig, (socket) => void socket.write(text("whole")));
  port = Number(new URL(rig.url).port);
  token = rig.secret("management");
});
after(async () => {
  await node[Symbol.asyncDispose]();
  await rig[Symbol.asyncDispose]();
});

/* ---- what an agent may hear ---- */

const fields =
  /^(?:Host: 127\.0\.0\.1:\d+|X-Nomad-Token: [0-9a-f-]{36}|X-Request-Id: [\w-]+|X-Forwarded-For: 127\.0\.0\.1|X-Forwarded-Proto: http|X-Forwarded-Host: [\w.:-]+|Content-Type: application\/json|Content-Length: \d+)$/;

/** Fails unless the bytes of a connection are whole requests as serai builds them; gives their targets. */
const targetsOf = (bytes: string): readonly string[] => {
  const targets: string[] = [];
  for (let rest = bytes; rest !== ""; ) {
    const end = rest.indexOf("\r\n\r\n");
    assert.ok(end > 0, `not a whole request: ${JSON.stringify(rest)}`);
    const [line = "", ...headers] = rest.slice(0, end).split("\r\n");
    const target = /^(?:GET|PUT|POST) (\/v1\/client\/[\x21-\x7e]*) HTTP\/1\.1$/.exec(line)?.[1];
    assert.ok(target !== undefined, `not a request line of ours: ${JSON.stringify(line)}`);
    for (const header of headers) assert.match(header, fields);
    const names = headers.map((header) => header.split(":")[0]?.toLowerCase());
    assert.equal(new Set(names).size, names.length, `a header twice: ${names.join(", ")}`);
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(rest.slice(0, end))?.[1] ?? 0);
    rest = rest.slice(end + 4 + length);
    targets.push(target);
  }
  return targets;
};

const heardTargets = (): readonly string[] => node.heard().flatMap(targetsOf);

/* ---- the corpus ---- */

const crlf = "\r\n";
const good = (): string => `/v1/client/fs/cat/${node.allocationId}?path=%2Fgood`;
const evil = (): string => `/v1/client/fs/cat/${node.allocationId}?path=%2Fevil`;
const lines = (...all: readonly string[]): string => `${all.join(crlf)}${crlf}${crlf}`;
const host = "Host: gate";
const withToken = (): string => `X-Nomad-Token: ${token}`;
const get = (...headers: readonly string[]): string =>
  lines(`GET ${good()} HTTP/1.1`, host, withToken(), ...headers);
const smuggled = (): string => lines(`GET ${evil()} HTTP/1.1`, host, withToken());
const restart = (): string => `/v1/client/allocation/${node.allocationId}/restart`;
const put = (...headers: readonly string[]): string =>
  lines(`PUT ${restart()} HTTP/1.1`, host, withToken(), ...headers);
const target = (path: string): string => lines(`GET ${path} HTTP/1.1`, host, withToken());
const fs = (): string => `/v1/client/fs/cat/${node.allocationId}`;

interface Case {
  readonly name: string;
  readonly bytes: () => string | Buffer;
  /** The first answer's status; several where Node's parser may speak first. */
  readonly status: number | readonly number[];
}

const refused = (name: string, bytes: Case["bytes"], status: Case["status"] = 400): Case => ({
  name,
  bytes,
  status,
});

const corpus: readonly Case[] = [
  // framing of bodies
  refused("Content-Length beside Transfer-Encoding", () => put("Content-Length: 4", "Transfer-Encoding: chunked") + smuggled()),
  refused("Transfer-Encoding beside Content-Length", () => `${put("Transfer-Encoding: chunked", "Content-Length: 4")}0${crlf}${crlf}${smuggled()}`),
  refused("two lengths that differ", () => put("Content-Length: 0", "Content-Length: 44") + smuggled()),
  refused("two lengths that agree", () => `${put("Content-Length: 2", "Content-Length: 2")}{}${smuggled()}`),
  refused("a list of lengths", () => `${put("Content-Length: 2, 2")}{}${smuggled()}`),
  refused("a length with a plus", () => `${put("Content-Length: +2")}{}${smuggled()}`),
  refused("a negative length", () => put("Content-Length: -1") + smuggled()),
  refused("a hexadecimal length", () => `${put("Content-Length: 0x2")}{}${smuggled()}`),
  refused("a length with a fraction", () => `${put("Content-Length: 2.0")}{}${smuggled()}`),
  refused("a length with a space inside", () => `${put("Content-Length: 1 2")}{}${smuggled()}`),
  refused("a length beyond 64 bits", () => `${put("Content-Length: 18446744073709551618")}{}${smuggled()}`),
  refused("an empty length", () => put("Content-Length: ") + smuggled()),
  refused("identity, chunked", () => `${put("Transfer-Encoding: identity, chunked")}0${crlf}${crlf}${smuggled()}`),
  refused("chunked, identity", () => `${put("Transfer-Encoding: chunked, identity")}0${crlf}${crlf}${smuggled()}`),
  refused("gzip, chunked", () => `${put("Transfer-Encoding: gzip, chunked")}0${crlf}${crlf}${smuggled()}`),
  refused("chunked twice", () => `${put("Transfer-Encoding: chunked", "Transfer-Encoding: chunked")}0${crlf}${crlf}${smuggled()}`),
  refused("chunked, then identity in a second header", () => `${put("Transfer-Encoding: chunked", "Transfer-Encoding: identity")}0${crlf}${crlf}${smuggled()}`),
  refused("identity alone", () => put("Transfer-Encoding: identity") + smuggled()),
  refused("xchunked", () => `${put("Transfer-Encoding: xchunked")}0${crlf}${crlf}${smuggled()}`),
  refused("a vertical tab before chunked", () => `${put("Transfer-Encoding: \x0bchunked")}0${crlf}${crlf}${smuggled()}`),
  refused("a quoted chunked", () => `${put('Transfer-Encoding: "chunked"')}0${crlf}${crlf}${smuggled()}`),
  refused("a space before the colon of Transfer-Encoding", () => `${put("Transfer-Encoding : chunked")}0${crlf}${crlf}${smuggled()}`),
  refused("a folded Transfer-Encoding", () => `${put("Transfer-Encoding:", " chunked")}0${crlf}${crlf}${smuggled()}`),
  refused("a chunk size with 0x", () => `${put("Transfer-Encoding: chunked")}0x2${crlf}{}${crlf}0${crlf}${crlf}${smuggled()}`),
  refused("a negative chunk size", () => `${put("Transfer-Encoding: chunked")}-1${crlf}{}${crlf}0${crlf}${crlf}`),
  refused("a chunk size beyond 64 bits", () => `${put("Transfer-Encoding: chunked")}10000000000000002${crlf}{}${crlf}0${crlf}${crlf}`),
  refused("a chunk longer than its size", () => `${put("Transfer-Encoding: chunked")}1${crlf}{}${crlf}0${crlf}${crlf}`),
  refused("a chunk ended by a bare LF", () => `${put("Transfer-Encoding: chunked")}2\n{}\n0\n\n${smuggled()}`),
  refused("a chunk extension of 64 KiB", () => `${put("Transfer-Encoding: chunked")}2;x=${"a".repeat(65_536)}${crlf}{}${crlf}0${crlf}${crlf}`, [400, 413]),
  refused("a trailer that would be a credential, after a broken chunk", () => `${put("Transfer-Encoding: chunked")}2${crlf}{}X${crlf}0${crlf}X-Nomad-Token: x${crlf}${crlf}`),
  // lines and headers
  refused("bare LF line ends", () => get().replaceAll(crlf, "\n")),
  refused("a bare CR in a header's value", () => get("X-A: a\rX-Nomad-Token: x")),
  refused("a NUL in a header's value", () => get("X-A: a\0b")),
  refused("a space in a header's name", () => get("X A: b")),
  refused("a header without a colon", () => get("X-A")),
  refused("a header without a name", () => get(": a")),
  refused("a folded header", () => get("X-A: b", " c")),
  refused("a control byte in a header's name", () => get("X-\x01A: b")),
  refused("a space before the first header", () => lines(`GET ${good()} HTTP/1.1`, ` ${host}`, withToken())),
  refused("a header of 70 KiB", () => get(`X-A: ${"a".repeat(70_000)}`), 431),
  refused("the same credential twice", () => get(withToken())),
  refused("two credentials that differ", () => get("X-Nomad-Token: 00000000-0000-0000-0000-000000000000")),
  refused("Authorization twice", () => get("Authorization: Bearer a", "Authorization: Bearer b")),
  refused("a second credential behind two thousand headers", () => get(...Array.from({ length: 2_100 }, () => "a:"), withToken())),
  refused("Connection naming the credential", () => get("Connection: close, X-Nomad-Token")),
  refused("Connection naming the length", () => `${put("Content-Length: 2", "Connection: content-length")}{}`),
  refused("a coded request body", () => `${put("Content-Encoding: gzip", "Content-Length: 2")}{}`, 415),
  refused("an expectation that is unknown", () => `${put("Expect: 200-maybe", "Content-Length: 2")}{}`, 417),
  // hosts
  refused("two hosts", () => get("Host: other")),
  refused("no host", () => lines(`GET ${good()} HTTP/1.1`, withToken())),
  refused("an empty host", () => lines(`GET ${good()} HTTP/1.1`, "Host: ", withToken())),
  refused("a host with user and path", () => lines(`GET ${good()} HTTP/1.1`, "Host: a@b/c", withToken())),
  refused("a host with a space", () => lines(`GET ${good()} HTTP/1.1`, "Host: a b", withToken())),
  // versions
  refused("HTTP/0.9 with headers and CRLF", () => lines(`GET ${good()}`, host, withToken())),
  refused("HTTP/0.9 with LF", () => `GET ${good()}\n${host}\n${withToken()}\n\n`),
  refused("HTTP/1.0 with Transfer-Encoding", () => `${lines(`PUT ${restart()} HTTP/1.0`, host, withToken(), "Transfer-Encoding: chunked")}0${crlf}${crlf}${smuggled()}`),
  refused("HTTP/1.2", () => lines(`GET ${good()} HTTP/1.2`, host, withToken())),
  refused("HTTP/2.0", () => lines(`GET ${good()} HTTP/2.0`, host, withToken())),
  refused("HTTP/2's preface", () => `PRI * HTTP/2.0${crlf}${crlf}SM${crlf}${crlf}`),
  refused("a version in small letters", () => lines(`GET ${good()} http/1.1`, host, withToken())),
  refused("a version with a tail", () => lines(`GET ${good()} HTTP/1.1x`, host, withToken())),
  refused("a method with a control byte", () => lines(`G\x01T ${good()} HTTP/1.1`, host, withToken())),
  // targets
  refused("a space in the target", () => target(`${fs()}?path=/a b`)),
  refused("a tab in the target", () => target(`${fs()}?path=/a\tb`)),
  refused("a bare CR in the target", () => target(`${fs()}?path=/a\rb`)),
  refused("a byte above 0x7e in the path", () => Buffer.from(target(`${fs()}\xe9?path=/a`), "latin1")),
  refused("a backslash", () => target(`/v1/client\\fs/cat/${node.allocationId}?path=/a`)),
  refused("an encoded backslash", () => target(`/v1/client/fs%5ccat/${node.allocationId}?path=/a`)),
  refused("an encoded NUL", () => target(`${fs()}%00?path=/a`)),
  refused("an encoded CR LF", () => target(`${fs()}%0d%0aX-A:%20b?path=/a`)),
  refused("an encoded slash", () => target(`/v1/client/fs%2fcat/${node.allocationId}?path=/a`)),
  refused("..", () => target(`/v1/client/fs/ls/../cat/${node.allocationId}?path=/a`)),
  refused("an encoded ..", () => target(`/v1/client/fs/ls/%2e%2E/cat/${node.allocationId}?path=/a`)),
  refused("an overlong encoding of a dot", () => target(`${fs()}%c0%ae?path=/a`)),
  refused("a broken percent sign", () => target(`${fs()}%zz?path=/a`)),
  refused("a fragment", () => target(`${fs()}#?path=/a`)),
  refused("the asterisk", () => lines("GET * HTTP/1.1", host, withToken())),
  refused("a target of 15 KiB that is no path", () => target("x".repeat(15_000))),
  refused("CONNECT", () => lines("CONNECT 127.0.0.1:22 HTTP/1.1", host, withToken()) + smuggled(), [0, 400, 404, 405]),
  refused("a parameter twice", () => target(`${fs()}?path=/a&path=/b`)),
  refused("an id with a path inside", () => target(`/v1/client/fs/cat/${node.allocationId}/../x?path=/a`)),
  refused("an id that is none", () => target("/v1/client/fs/cat/------------------------------------?path=/a"), 500),
  refused("an upgrade with a body", () => `${lines(`GET /v1/client/allocation/${node.allocationId}/exec?task=server&command=%5B%22a%22%5D HTTP/1.1`, host, withToken(), "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Content-Length: 5")}hello`),
]; // biome-ignore format: a table

const isOneOf = (status: number | undefined, wanted: Case["status"]): boolean =>
  (typeof wanted === "number" ? [wanted] : wanted).includes(status ?? 0);

describe("requests that could mean two things", () => {
  for (const { name, bytes, status } of corpus)
    test(`${name}: refused, and no agent hears of it`, async () => {
      node.forget();
      const answer = await sendRaw(port, bytes(), 250);
      assert.ok(isOneOf(answer.status, status), `${answer.status}: ${answer.text.slice(0, 200)}`);
      assert.equal(heardTargets().length, 0, JSON.stringify(node.heard()));
      const [, ...more] = answer.text.split(/(?=HTTP\/1\.1 \d{3} )/);
      assert.deepEqual(more, [], "one answer, then the end");
    });

  test("the corpus has at least 46 inputs", () => {
    assert.ok(corpus.length >= 46, String(corpus.length));
  });
});

/* ---- what is meant once ---- */

interface Meant {
  readonly name: string;
  readonly bytes: () => string;
  readonly status: number;
  readonly targets: () => readonly string[];
}

const sent = (path: string): string =>
  `/v1/client/fs/cat/${node.allocationId}?path=${encodeURIComponent(path)}`;
const once = () => [good()];
const close = "Connection: close";

const meant: readonly Meant[] = [
  {
    name: "an absolute target is its path, whatever host it names",
    bytes: () => lines(`GET http://evil.example${good()} HTTP/1.1`, host, withToken(), close),
    status: 200,
    targets: once,
  },
  {
    name: "unknown parameters and a token in the query stay behind",
    bytes: () => lines(`GET ${good()}&region=global&token=s3cret&x=1 HTTP/1.1`, host, withToken(), close),
    status: 200,
    targets: once,
  },
  {
    name: "an id in capitals is asked for in small letters",
    bytes: () => lines(`GET ${good().replace(node.allocationId, node.allocationId.toUpperCase())} HTTP/1.1`, host, withToken(), close),
    status: 200,
    targets: once,
  },
  {
    name: "a plus is a blank, an encoded CR LF stays encoded",
    bytes: () => lines(`GET ${fs()}?path=a+b%0d%0aX-A:%20c HTTP/1.1`, host, withToken(), close),
    status: 200,
    targets: () => [sent("a b\r\nX-A: c")],
  },
  {
    name: "two requests in one write are two",
    bytes: () => get() + lines(`GET ${fs()}?path=second HTTP/1.1`, host, withToken(), close),
    status: 200,
    targets: () => [good(), sent("second")],
  },
  {
    name: "a body that no row wants is neither sent on nor read as a request",
    bytes: () => get(`Content-Length: ${smuggled().length}`, close) + smuggled(),
    status: 200,
    targets: once,
  },
  {
    name: "trailers are dropped",
    bytes: () => `${put("Transfer-Encoding: chunked", "Trailer: X-Nomad-Token", close)}2${crlf}{}${crlf}0${crlf}X-Nomad-Token: x${crlf}X-Evil: y${crlf}${crlf}`,
    status: 200,
    targets: () => [restart()],
  },
  {
    name: "an offer of HTTP/2 is ignored",
    bytes: () => get("Connection: Upgrade, HTTP2-Settings, close", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
    status: 200,
    targets: once,
  },
  {
    name: "an upgrade that no row has is ignored",
    bytes: () => get("Connection: Upgrade, close", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="),
    status: 200,
    targets: once,
  },
  {
    name: "where a request came from is ours to say, odd headers stay behind",
    bytes: () => get("X-Forwarded-For: 6.6.6.6", "X-Forwarded-Proto: https", "Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6", "__proto__: a", "constructor: b", "X_Nomad_Token: c", "X-Nomad_Token: d", "Cookie: e=f", "Authorization: Basic Zm9v", "TE: trailers", "Proxy-Authorization: Basic eDp5", close),
    status: 200,
    targets: once,
  },
  {
    name: "a double slash is a redirect to the one path",
    bytes: () => lines(`GET //v1/client/fs/cat/${node.allocationId}?path=/a HTTP/1.1`, host, withToken(), close),
    status: 307,
    targets: () => [],
  },
  {
    name: "another case of the path is another path",
    bytes: () => lines(`GET /V1/client/fs/cat/${node.allocationId}?path=/a HTTP/1.1`, host, withToken(), close),
    status: 404,
    targets: () => [],
  },
  {
    name: "HTTP/1.0 is served and closed",
    bytes: () => lines(`GET ${good()} HTTP/1.0`, withToken()),
    status: 200,
    targets: once,
  },
]; // biome-ignore format: a table

describe("requests that mean one thing", () => {
  for (const { name, bytes, status, targets } of meant)
    test(name, async () => {
      node.forget();
      const answer = await sendRaw(port, bytes(), 250);
      assert.equal(answer.status, status, answer.text);
      assert.equal(answer.end, "fin");
      assert.deepEqual(heardTargets().toSorted(), targets().toSorted());
    });

  test("a credential that no header can carry is refused before an agent is asked", async () => {
    node.forget();
    for (const secret of ["a b", "caf\xe9", "a\tb", "x".repeat(9_000)]) {
      const bytes = lines(`GET ${good()} HTTP/1.1`, host, `X-Nomad-Token: ${secret}`, close);
      const { status } = await sendRaw(port, Buffer.from(bytes, "latin1"), 1_000);
      assert.equal(status, 403, secret);
    }
    assert.deepEqual(node.heard(), []);
  });

  test("nonsense behind a request whose answer has begun cuts it, and nothing is put into it", async () => {
    node.forget();
    node.answer = (socket) =>
      void socket.write(`HTTP/1.1 200 OK${crlf}Content-Length: 100${crlf}${crlf}begun`);
    const client = rawClient(port, get());
    await client.seen("begun");
    client.socket.write("this is no request\r\n\r\n");
    const { body, end } = await client.answer();
    assert.equal(body.toString(), "begun");
    assert.notEqual(end, "whole");
    node.answer = (socket) => void socket.write(text("whole"));
  });
});

describe("what is authorised is what is sent", () => {
  /** A half-close is a client that left, so it comes only after a silence: for requests that are not whole. */
  const send = (bytes: Buffer, patienceMs = 300): Promise<string> =>
    new Promise((resolve) => {
      const socket = connect(port, "127.0.0.1");
      const chunks: Buffer[] = [];
      const giveUp = setTimeout(() => socket.end(), patienceMs);
      socket.on("data", (chunk: Buffer) => chunks.push(chunk));
      socket.on("error", () => undefined); // a reset after the answer is the gateway's right
      socket.on("close", () => {
        clearTimeout(giveUp);
        resolve(Buffer.concat(chunks).toString("latin1"));
      });
      socket.write(bytes);
    });

  const word = fc.string({
    unit: fc.constantFrom(..."abcXYZ019-_".split("")),
    minLength: 1,
    maxLength: 12,
  });
  const visible = fc.string({
    unit: fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)),
    maxLength: 20,
  });

  test("whatever the path, the other parameters and the other headers are", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.string({ unit: "binary", minLength: 1, maxLength: 40 }),
        fc.array(fc.tuple(word, fc.string({ unit: "grapheme", maxLength: 10 })), { maxLength: 4 }),
        fc.array(fc.tuple(word, visible), { maxLength: 4 }),
        async (path, parameters, headers) => {
          node.forget();
          const asked = path.toWellFormed();
          const query = [
            ["path", asked],
            ...parameters.map(([name, value]) => [`z${name}`, value.toWellFormed()]),
          ]
            .map(
              ([name = "", value = ""]) =>
                `${encodeURIComponent(name)}=${encodeURIComponent(value)}`,
            )
            .join("&");
          const answer = await send(
            Buffer.from(
              lines(
                `GET ${fs()}?${query} HTTP/1.1`,
                host,
                withToken(),
                close,
                ...headers.map(([name, value]) => `x-z${name}: ${value}`),
              ),
            ),
            10_000, // it is whole
          );
          assert.match(answer, /^HTTP\/1\.1 200 /);
          assert.deepEqual(heardTargets(), [sent(asked)]);
        },
      ),
      { numRuns: 150 },
    );
  });

  test("a request with bytes changed, added or taken away is heard as one of ours or not at all", async () => {
    const bytesOf = (): Buffer => Buffer.from(`${put("Content-Length: 2", close)}{}`, "latin1");
    const change = fc.record({
      at: fc.nat({ max: 400 }),
      take: fc.nat({ max: 3 }),
      add: fc.oneof(
        fc.uint8Array({ maxLength: 3 }),
        fc
          .constantFrom(
            "\r\n",
            "\n",
            "\r",
            "\0",
            " ",
            "\t",
            ":",
            "%2e%2e/",
            "%0d%0a",
            "Transfer-Encoding: chunked\r\n",
            "Content-Length: 3\r\n",
            "Host: x\r\n",
            "\r\n\r\n",
          )
          .map((words) => Uint8Array.from(Buffer.from(words))),
      ),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), async (changes) => {
        node.forget();
        let bytes = bytesOf();
        for (const { at, take, add } of changes)
          bytes = Buffer.concat([bytes.subarray(0, at), add, bytes.subarray(at + take)]);
        const answer = await send(bytes);
        const targets = heardTargets();
        assert.ok(targets.length <= 1, answer);
        for (const one of targets) assert.ok(one.includes(node.allocationId), one);
      }),
      { numRuns: 250 },
    );
    node.forget();
    assert.match(await send(Buffer.from(get(close))), /^HTTP\/1\.1 200 /);
  });
});
