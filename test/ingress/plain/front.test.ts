/** Plain requests are read before node:http, and everything else is node:http's, wherever it comes and however it is cut. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { PlainRequest } from "../../../src/ingress/plain/caller.ts";
import type { HttpRequest, HttpResponse } from "../../../src/ports.ts";
import { standStill } from "../../support/stand-still.ts";
import { exchanged, openTwin, type Talk, talk, timeless } from "./support.ts";

/** Says what it was asked: what a reader made of the bytes. */
const say = async (request: HttpRequest, response: HttpResponse): Promise<void> => {
  let body = "";
  for await (const chunk of request.iterator({ destroyOnReturn: false }))
    body += chunk.toString("latin1");
  const { method, url, headers, httpVersion } = request;
  const text = JSON.stringify({ method, url, httpVersion, headers: { ...headers }, body });
  const bytes = Buffer.from(text, "latin1");
  response.writeHead(200, { "Content-Length": bytes.length });
  response.end(method === "HEAD" ? undefined : bytes);
};
const saying = (request: HttpRequest, response: HttpResponse): void => {
  say(request, response).catch(() => response.destroy());
};

const get = (target: string, more = ""): string =>
  `GET ${target} HTTP/1.1\r\nHost: a:1\r\n${more}\r\n`;
const post = "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
const chunked =
  "PUT /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
const end = get("/end", "Connection: close\r\n");

const conversations: Readonly<
  Record<string, readonly [pieces: readonly string[], plain: readonly string[]]>
> = {
  "one after the other": [
    [get("/1?a=b"), get("/2"), end],
    ["/1?a=b", "/2", "/end"],
  ],
  "all at once": [[get("/1") + get("/2") + end], ["/1", "/2", "/end"]],
  "another method between": [[get("/1"), post, get("/2"), end], ["/1"]],
  "a body behind a plain one, at once": [[get("/1") + post + chunked + end], ["/1"]],
  "a head in two pieces": [[get("/1"), "GET /2 HT", "TP/1.1\r\nHost: a\r\n\r\n", end], ["/1"]],
  "empty lines before a request": [[`\r\n\r\n${get("/1")}`, end], []],
  HEAD: [["HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n", end], []],
  "HTTP/1.0": [["GET /old HTTP/1.0\r\n\r\n"], []],
  "an absolute target": [["GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n", end], []],
  "a header twice": [[get("/1", "X-A: 1\r\nx-a: 2\r\n"), end], []],
  "a length of nothing": [[get("/1", "Content-Length: 0\r\n"), end], []],
  "an expectation": [
    ["POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx", end],
    [],
  ],
  "bytes beyond ASCII in a value": [[get("/1", "X-A: \xe9\r\n"), end], []],
  "blanks around a value": [
    [get("/1", "X-A: \t b c \t\r\n"), end],
    ["/1", "/end"],
  ],
  "other fields each time": [
    [get("/1", "X-A: 1\r\n"), get("/2", "X-A: 2\r\n"), get("/3"), end],
    ["/1", "/2", "/3", "/end"],
  ],
  "a folded line": [[get("/1", "X-A: 1\r\n 2\r\n")], []],
  "a blank before the colon": [[get("/1", "X-A : 1\r\n")], []],
  "a bare line feed": [["GET /1 HTTP/1.1\nHost: a\n\n"], []],
  "no host": [["GET /1 HTTP/1.1\r\nConnection: close\r\n\r\n"], []],
  "a request to close": [[get("/1", "connection: Close\r\n")], ["/1"]],
  "an offer that nobody takes": [
    [get("/1", "Connection: keep-alive\r\nTE: trailers\r\n"), end],
    ["/1", "/end"],
  ],
};

for (const [what, [pieces, plain]] of Object.entries(conversations))
  test(`${what}: the answers are node:http's`, async () => {
    await using front = await openTwin("front", saying);
    await using node = await openTwin("node", saying);
    const [ours, theirs] = await Promise.all(
      [front, node].map(({ port }) => exchanged(port, pieces)),
    );
    assert.equal(timeless(ours ?? ""), timeless(theirs ?? ""));
    assert.deepEqual(front.plain, plain);
  });

test("however the bytes are split, the answers are the same", async () => {
  await using front = await openTwin("front", saying);
  const whole = get("/1") + get("/2", "X-Nomad-Token: t\r\n") + post + end;
  const expected = timeless(await exchanged(front.port, [whole]));
  const ends = [...whole].map((_, at) => at).slice(1);
  for (let from = 0; from < ends.length; from += 32)
    await Promise.all(
      ends.slice(from, from + 32).map(async (at) => {
        const pieces = [whole.slice(0, at), whole.slice(at)];
        assert.equal(timeless(await exchanged(front.port, pieces)), expected, `split at ${at}`);
      }),
    );
});

/** Bytes that are nearly a request. */
const mutated = (random: () => number): string => {
  const pick = <T>(all: readonly T[]): T => all[Math.floor(random() * all.length)] as T; // none is empty
  const odd = [
    "\r",
    "\n",
    "\r\n",
    "\0",
    " ",
    "\t",
    ":",
    ",",
    "\x7f",
    "\xff",
    "/",
    "?",
    "#",
    "chunked",
    "Transfer-Encoding: chunked\r\n",
    "Content-Length: 3\r\n",
    "Connection: upgrade\r\n",
    "Upgrade: h2c\r\n",
    "HTTP/1.1",
    "GET ",
  ];
  let text = pick([
    get("/1"),
    get("/1?a=b", "X-Nomad-Token: abc\r\nAccept: */*\r\n"),
    get("/1", "Accept-Encoding: gzip\r\n"),
  ]);
  for (let nth = 0; nth <= random() * 3; nth++) {
    const at = Math.floor(random() * text.length);
    text = text.slice(0, at) + pick(odd) + text.slice(at + Math.floor(random() * 3));
  }
  return text;
};

test("nothing is read as a plain request that node:http reads otherwise", async () => {
  let seed = 20_261_126;
  const random = (): number => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    return seed / 2 ** 32;
  };
  await using front = await openTwin("front", saying);
  await using node = await openTwin("node", saying);
  const cases = Array.from({ length: 400 }, () => mutated(random));
  for (let from = 0; from < cases.length; from += 20)
    await Promise.all(
      cases.slice(from, from + 20).map(async (text) => {
        const headEnd = text.indexOf("\r\n\r\n");
        const pieces = [headEnd < 0 ? text : text.slice(0, headEnd + 4), end];
        const [ours, theirs] = await Promise.all(
          [front, node].map(({ port }) => exchanged(port, pieces)),
        );
        assert.equal(timeless(ours ?? ""), timeless(theirs ?? ""), JSON.stringify(text));
      }),
    );
  assert.ok(front.plain.length > 50, "some of them are plain requests");
});

const targets = (from: number, to: number): string =>
  Array.from({ length: to - from }, (_, at) => get(`/${from + at}`)).join("");

for (const [what, much, plain] of [
  ["plain requests", targets(0, 1_500), 1_502],
  ["another method among them", targets(0, 1_000) + post + targets(1_000, 1_499), 1_001],
  ["another method after a few", targets(0, 3) + post + targets(3, 1_499), 4],
] as const)
  test(`what comes while an answer is awaited waits: ${what}`, async () => {
    const held: HttpResponse[] = [];
    await using front = await openTwin("front", (request, response) => {
      if (request.url === "/held") held.push(response);
      else saying(request, response);
    });
    using line = await talk(front.port);
    line.socket.write(get("/held"));
    while (held.length === 0) await new Promise((done) => setImmediate(done));
    line.socket.write(much + end);
    await new Promise((done) => setTimeout(done, 50));
    assert.deepEqual(front.plain, ["/held"]);
    held[0]?.writeHead(200, { "Content-Length": 0 });
    held[0]?.end();
    const answers = (await line.closed()).split("HTTP/1.1 200 OK").slice(2);
    assert.equal(answers.length, 1_501);
    const asked = answers.map((text) => /"url":"([^"]*)"/.exec(text)?.[1]);
    const expected = [...(much + end).matchAll(/(?:GET|POST) (\S+)/g)].map(([, url]) => url);
    assert.deepEqual(asked, expected);
    assert.equal(front.plain.length, plain);
  });

test("a caller that sends too much while an answer is awaited is cut, and one that leaves is missed", async () => {
  const ends: boolean[] = [];
  await using front = await openTwin("front", (_request, response) => {
    response.once("close", () => ends.push(response.writableFinished));
  });
  using much = await talk(front.port);
  much.socket.write(get("/held") + targets(0, 3_000));
  assert.equal(await much.closed(), "");
  using leaver = await talk(front.port);
  leaver.socket.write(get("/held") + targets(0, 1_000));
  while (front.plain.length < 2) await new Promise((done) => setImmediate(done));
  leaver.socket.destroy();
  while (ends.length < 2) await new Promise((done) => setTimeout(done, 10));
  assert.deepEqual(ends, [false, false]);
});

test("empty lines between requests count for nothing, however they are cut", async () => {
  await using front = await openTwin("front", saying, { headersTimeoutMs: 200 });
  using line = await talk(front.port);
  const answered = async (count: number): Promise<void> => {
    await line.until(
      (text) => text.split("HTTP/1.1 200").length - 1 === count && text.endsWith("}"),
    );
  };
  line.socket.write(`${get("/1")}\r`);
  await answered(1);
  line.socket.write("\n\r\n\n");
  await new Promise((done) => setTimeout(done, 1_300)); // longer than a silent connection may last
  line.socket.write(get("/2"));
  await answered(2);
  line.socket.write(`\r\n${end}`);
  const text = await line.closed();
  assert.doesNotMatch(text, /late|408/);
  assert.deepEqual(front.plain, ["/1", "/2"]);
});

test("a connection is kept for a while, and one that asks nothing at all is told so", async () => {
  await using front = await openTwin("front", saying, {
    keepAliveTimeoutMs: 300,
    headersTimeoutMs: 300,
  });
  using silent = await talk(front.port);
  using kept = await talk(front.port);
  kept.socket.write(get("/1"));
  const answered = await kept.until((text) => text.endsWith("}"));
  assert.equal(await kept.closed(), answered);
  assert.equal(await silent.closed(), "late");
});

test("a request that came while the process stood still is answered, however long its connection was kept before", async () => {
  await using front = await openTwin("front", saying, { keepAliveTimeoutMs: 500 });
  using kept = await talk(front.port);
  kept.socket.write(get("/1"));
  await kept.until((text) => text.endsWith("}"));
  await new Promise<void>((done) =>
    setImmediate(() => {
      kept.socket.write(get("/2"));
      standStill(1_200); // longer than the front goes without a look at its connections
      done();
    }),
  );
  await kept.until((text) => text.split("HTTP/1.1 200").length > 2);
  assert.deepEqual(front.plain, ["/1", "/2"]);
});

test("what comes behind the last request is not looked at, unless it can be no request", async () => {
  const held: HttpResponse[] = [];
  await using front = await openTwin("front", (request, response) => {
    if (request.url === "/held") held.push(response);
    else saying(request, response);
  });
  const text = await exchanged(front.port, [get("/1", "Connection: close\r\n") + get("/2")]);
  assert.equal(text.split("HTTP/1.1 ").length - 1, 1);
  assert.deepEqual(front.plain, ["/1"]);
  assert.equal(await exchanged(front.port, [`${get("/held")}this is no request\r\n`]), "");
});

test("many at once that are answered at once are answered in their order, and none behind the last", async () => {
  await using front = await openTwin("front", (request, response) => {
    const bytes = Buffer.from(`<${request.url}>`);
    response.writeHead(200, { "Content-Length": bytes.length });
    response.end(bytes);
  });
  const targets = Array.from({ length: 400 }, (_, at) => `/${at}`);
  const asked = targets.map((target) => get(target)).join("") + end + get("/behind");
  const text = await exchanged(front.port, [asked]);
  assert.deepEqual(text.match(/(?<=<)[^>]+/g), [...targets, "/end"]);
  assert.deepEqual(front.plain, [...targets, "/end"]);
});

test("idle connections end when it is told so, one that is answered does not", async () => {
  const held: HttpResponse[] = [];
  await using front = await openTwin("front", (request, response) => {
    if (request.url === "/held") held.push(response);
    else saying(request, response);
  });
  using idle = await talk(front.port);
  using busy = await talk(front.port);
  idle.socket.write(get("/1"));
  await idle.until((text) => text.endsWith("}"));
  busy.socket.write(get("/held"));
  while (held.length === 0) await new Promise((done) => setImmediate(done));
  front.closeIdle();
  await idle.closed();
  held[0]?.writeHead(200, { "Content-Length": 2 });
  held[0]?.end(Buffer.from("ok"));
  await busy.until((text) => text.endsWith("ok"));
});

test("what one peer says on several connections is read once, while one of them is there", async () => {
  const read: unknown[] = [];
  await using front = await openTwin("front", (request, response) => {
    if (request instanceof PlainRequest) read.push(request.fields);
    saying(request, response);
  });
  const ask = async (line: Talk, head: string): Promise<void> => {
    const before = read.length;
    line.socket.write(head);
    while (read.length === before) await new Promise((done) => setImmediate(done));
  };
  const [head, other] = [get("/1", "X-Nomad-Token: t\r\n"), get("/1", "X-Nomad-Token: u\r\n")];
  using one = await talk(front.port);
  using two = await talk(front.port);
  using elsewhere = await talk(front.port, "127.0.0.2");
  await ask(one, head);
  await ask(two, get("/2", "X-Nomad-Token: t\r\n"));
  assert.equal(read[1], read[0], "of one peer");
  await ask(elsewhere, head);
  assert.notEqual(read[2], read[0], "another peer's");
  await ask(one, other);
  assert.notEqual(read[3], read[0]);
  await ask(one, head);
  assert.equal(read[4], read[0], "the other connection has said it all the while");
  for (const line of [one, two]) {
    line.socket.end();
    await line.closed();
  }
  using later = await talk(front.port);
  await ask(later, head);
  assert.notEqual(read[5], read[0], "none is there any more: a secret is not kept");
});

test("a header beyond the bound is node:http's to refuse", async () => {
  await using front = await openTwin("front", saying, { maxHeaderBytes: 2_048 });
  const text = await exchanged(front.port, [get("/1", `X-A: ${"a".repeat(4_000)}\r\n`)]);
  assert.match(text, /^HTTP\/1.1 431 /);
  assert.deepEqual(front.plain, []);
});
