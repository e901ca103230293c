/**
 * Where nginx or HAProxy refuse a request for its framing, serai does too: a proxy in front and serai behind it never read two
 * different requests. Skipped aloud where neither is installed.
 */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type ProxyName, type Settings, startProxy } from "../support/proxies.ts";
import { type RawAnswer, sendRaw } from "../support/raw.ts";
import { startRig } from "../support/rig.ts";

const crlf = "\r\n";
const lines = (...all: readonly string[]): string => `${all.join(crlf)}${crlf}${crlf}`;
const post = (...headers: readonly string[]): string =>
  lines("POST /v1/search HTTP/1.1", "Host: gate", ...headers);
const read = (...headers: readonly string[]): string =>
  lines("GET /v1/regions HTTP/1.1", "Host: gate", ...headers);
const chunked = "Transfer-Encoding: chunked";

/** Of each the verdict is compared; `mine` says what serai alone has to do. */
const inputs: readonly (readonly [name: string, bytes: string, mine: "refused" | "either"])[] = [
  ["a plain read", read(), "either"],
  ["a plain body", `${post("Content-Length: 2")}{}`, "either"],
  ["a chunked body", `${post(chunked)}2${crlf}{}${crlf}0${crlf}${crlf}`, "either"],
  ["length and coding", `${post("Content-Length: 4", chunked)}0${crlf}${crlf}`, "refused"],
  ["coding and length", `${post(chunked, "Content-Length: 4")}0${crlf}${crlf}`, "refused"],
  ["two lengths that differ", `${post("Content-Length: 2", "Content-Length: 3")}{}`, "refused"],
  ["two lengths that agree", `${post("Content-Length: 2", "Content-Length: 2")}{}`, "refused"],
  ["a list of lengths", `${post("Content-Length: 2, 2")}{}`, "refused"],
  ["a length with a plus", `${post("Content-Length: +2")}{}`, "refused"],
  ["a negative length", post("Content-Length: -1"), "refused"],
  ["a hexadecimal length", `${post("Content-Length: 0x2")}{}`, "refused"],
  ["a fraction of a length", `${post("Content-Length: 2.0")}{}`, "refused"],
  ["a length beyond 64 bits", `${post("Content-Length: 18446744073709551618")}{}`, "refused"],
  ["an empty length", post("Content-Length: "), "refused"],
  ["identity, chunked", `${post("Transfer-Encoding: identity, chunked")}0${crlf}${crlf}`, "refused"],
  ["chunked, identity", `${post("Transfer-Encoding: chunked, identity")}0${crlf}${crlf}`, "refused"],
  ["gzip, chunked", `${post("Transfer-Encoding: gzip, chunked")}0${crlf}${crlf}`, "refused"],
  ["chunked twice", `${post(chunked, chunked)}0${crlf}${crlf}`, "refused"],
  ["xchunked", `${post("Transfer-Encoding: xchunked")}0${crlf}${crlf}`, "refused"],
  ["identity alone", post("Transfer-Encoding: identity"), "refused"],
  ["a vertical tab before chunked", `${post("Transfer-Encoding: \x0bchunked")}0${crlf}${crlf}`, "refused"],
  ["a space before the colon", `${post("Transfer-Encoding : chunked")}0${crlf}${crlf}`, "refused"],
  ["a folded coding", `${post("Transfer-Encoding:", " chunked")}0${crlf}${crlf}`, "refused"],
  ["a chunk size with 0x", `${post(chunked)}0x2${crlf}{}${crlf}0${crlf}${crlf}`, "refused"],
  ["a negative chunk size", `${post(chunked)}-1${crlf}{}${crlf}0${crlf}${crlf}`, "refused"],
  ["a chunk size beyond 64 bits", `${post(chunked)}10000000000000002${crlf}{}${crlf}0${crlf}${crlf}`, "refused"],
  ["a chunk longer than its size", `${post(chunked)}1${crlf}{}${crlf}0${crlf}${crlf}`, "refused"],
  ["chunks ended by LF", `${post(chunked)}2\n{}\n0\n\n`, "refused"],
  ["coding on HTTP/1.0", `${lines("POST /v1/search HTTP/1.0", "Host: gate", chunked)}0${crlf}${crlf}`, "refused"],
  ["bare LF line ends", read("X-A: b").replaceAll(crlf, "\n"), "refused"],
  ["a bare CR in a value", read("X-A: a\rX-B: c"), "refused"],
  ["a NUL in a value", read("X-A: a\0b"), "refused"],
  ["a space in a name", read("X A: b"), "refused"],
  ["no colon", read("X-A"), "refused"],
  ["no name", read(": a"), "refused"],
  ["a folded header", read("X-A: b", " c"), "refused"],
  ["a control byte in a name", read("X-\x01A: b"), "refused"],
  ["a space before the first header", lines("GET /v1/regions HTTP/1.1", " Host: gate"), "refused"],
  ["two hosts", read("Host: other"), "refused"],
  ["no host", lines("GET /v1/regions HTTP/1.1"), "refused"],
  ["an empty host", lines("GET /v1/regions HTTP/1.1", "Host: "), "refused"],
  ["a host with user and path", lines("GET /v1/regions HTTP/1.1", "Host: a@b/c"), "refused"],
  ["a host with a space", lines("GET /v1/regions HTTP/1.1", "Host: a b"), "refused"],
  ["HTTP/0.9 with headers", lines("GET /v1/regions", "Host: gate"), "refused"],
  ["HTTP/0.9 with LF", "GET /v1/regions\n\n", "refused"],
  ["HTTP/1.2", lines("GET /v1/regions HTTP/1.2", "Host: gate"), "refused"],
  ["HTTP/2.0", lines("GET /v1/regions HTTP/2.0", "Host: gate"), "refused"],
  ["a version in small letters", lines("GET /v1/regions http/1.1", "Host: gate"), "refused"],
  ["a version with a tail", lines("GET /v1/regions HTTP/1.1x", "Host: gate"), "refused"],
  ["a control byte in the method", lines("G\x01T /v1/regions HTTP/1.1", "Host: gate"), "refused"],
  ["a space in the target", lines("GET /v1/reg ions HTTP/1.1", "Host: gate"), "refused"],
  ["a backslash in the target", lines("GET /v1\\regions HTTP/1.1", "Host: gate"), "refused"],
  ["an encoded NUL in the path", lines("GET /v1/%00 HTTP/1.1", "Host: gate"), "refused"],
  ["a broken percent sign", lines("GET /v1/%zz HTTP/1.1", "Host: gate"), "refused"],
  ["HTTP/2's preface", lines("PRI * HTTP/2.0", "", "SM"), "refused"],
  ["no HTTP at all", "hello\r\n\r\n", "refused"],
]; // biome-ignore format: a table

/** What servers say of a request that is none; anything else was said of what the request asks for. */
const refusals: ReadonlySet<number> = new Set([
  400, 408, 411, 413, 414, 417, 421, 426, 431, 501, 505,
]);

const isRefused = ({ status, end, text }: RawAnswer): boolean =>
  status === undefined ? end !== "open" || text === "" : refusals.has(status);

test("each of them that could mean two things is refused by serai", async () => {
  assert.ok(inputs.length >= 46, String(inputs.length));
  await using rig = await startRig();
  const port = Number(new URL(rig.url).port);
  for (const [name, bytes, mine] of inputs) {
    const answer = await sendRaw(port, bytes, 200);
    if (mine === "refused") assert.ok(isRefused(answer), `${name}: ${answer.text.slice(0, 100)}`);
    else assert.ok(!isRefused(answer), `${name}: ${answer.text.slice(0, 100)}`);
  }
});

/* ---- others ---- */

const others: readonly (readonly [ProxyName, Settings])[] = [
  ["nginx", (port) => `server { listen 127.0.0.1:${port}; location / { return 200 "ok"; } }`],
  ["haproxy", (port) => `
frontend f
  bind 127.0.0.1:${port}
  http-request return status 200 content-type text/plain string ok
`],
]; // biome-ignore format: a table

/** What is read as a request elsewhere and refused here is our own strictness; the other way round is a hole. */
const compare = async (t: TestContext, port: number): Promise<void> => {
  await using rig = await startRig();
  const mine = Number(new URL(rig.url).port);
  let agreed = 0;
  for (const [name, bytes] of inputs) {
    const [theirs, ours] = await Promise.all([
      sendRaw(port, bytes, 200),
      sendRaw(mine, bytes, 200),
    ]);
    if (isRefused(theirs))
      assert.ok(
        isRefused(ours),
        `${name}: ${ours.text.slice(0, 100)} against ${theirs.text.slice(0, 60)}`,
      );
    if (isRefused(theirs) === isRefused(ours)) agreed += 1;
  }
  t.diagnostic(`${agreed} of ${inputs.length} verdicts agree; where they differ serai refuses`);
};

for (const [name, settings] of others)
  test(`nothing that ${name} refuses is let in`, async (t) => {
    await using proxy = await startProxy(t, name, settings);
    if (proxy) await compare(t, proxy.port);
  });
