/**
 * How an agent's answer is read: as llhttp reads it or more strictly, whatever the bytes and wherever they are cut. Nobody
 * ever gets a longer body, or one from an answer that llhttp refuses.
 */
import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import fc from "fast-check";
import { Connection, type Receiver } from "../../src/upstream/connection.ts";
import { endOfHead, type Head, InvalidAnswer, isField, readHead } from "../../src/upstream/head.ts";
import { cuts, headish, mangled, piecesOf, proper } from "./answers.ts";
import { fieldsOf } from "./grammar.ts";
import { llhttpVerdict, type Verdict } from "./llhttp.ts";

const options = { maxHeadBytes: 4_096, keepAliveMs: 1_000 };

interface Read {
  readonly verdict: Verdict;
  /** The connection was given back for another request. */
  readonly isReused: boolean;
}

/**
 * How the pieces come: `shared` and `lent` (of a large answer) in memory that is overwritten; `gathered`: large, of a stream; `relayed`: lent, and
 * chunks go out as they came.
 */
const ways = ["own", "shared", "lent", "gathered", "relayed"] as const;
type Way = (typeof ways)[number];

/** What llhttp reads of chunks that are sent on, with a last one behind them. */
const bodyIn = async (chunks: string): Promise<string> => {
  const text = `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}0\r\n\r\n`;
  const verdict = await llhttpVerdict([Buffer.from(text, "latin1")]);
  assert.ok(verdict.ok, text);
  return verdict.body;
};

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** What a connection makes of an answer that comes in these pieces. */
const read = async (pieces: readonly Buffer[], way: Way): Promise<Read> => {
  const isBulk = way === "lent" || way === "gathered" || way === "relayed";
  let status = 0;
  let isRelayed = false;
  let payload = 0;
  let isOver = false;
  let isReused = false;
  const bodies: Buffer[] = [];
  const held: (() => void)[] = [];
  const receiver: Receiver = {
    started: () => undefined,
    head: (head) => {
      status = head.status;
      isRelayed = way === "relayed" && head.framing.kind === "chunked";
      if (isRelayed) return "chunks";
      return isBulk ? "bulk" : "small";
    },
    data: (bytes, done, count) => {
      payload += count;
      bodies.push(bytes);
      if (done) held.push(done);
      return true;
    },
    end: () => {
      isOver = true;
    },
    failed: () => undefined,
  };
  const connection = new Connection(
    { ...options, bulkFromBytes: 1 },
    {
      idle: () => {
        isReused = true;
      },
      closed: () => {
        isReused = false;
      },
    },
  );
  const socket = new PassThrough();
  connection.open(socket);
  connection.send("GET / HTTP/1.1\r\n\r\n", receiver);
  for (const piece of pieces)
    if (way === "own" || way === "gathered") connection.intake.given(Buffer.from(piece));
    else {
      const buffer = connection.intake.buffer();
      buffer.set(piece);
      connection.intake.came(piece.length);
      buffer.fill(0x21, 0, piece.length);
    }
  await nextTurn();
  const reused = isReused;
  connection.destroy();
  const came = Buffer.concat(bodies).toString("latin1");
  for (const done of held) done();
  const body = isRelayed && isOver ? await bodyIn(came) : came;
  if (isOver) assert.equal(payload, body.length);
  return { isReused: reused, verdict: isOver ? { ok: true, status, body } : { ok: false } };
};

const runs = { numRuns: 2_000 };

test("the small pieces of a moment are one to whoever takes a large answer", async () => {
  const sizes: number[] = [];
  const receiver: Receiver = {
    started: () => undefined,
    head: () => "bulk",
    data: (bytes, done) => {
      sizes.push(bytes.length);
      done?.();
      return true;
    },
    end: () => sizes.push(0),
    failed: assert.ifError,
  };
  const connection = new Connection(options, { idle: () => undefined, closed: () => undefined });
  connection.open(new PassThrough());
  connection.send("GET / HTTP/1.1\r\n\r\n", receiver);
  const kib = 1_024;
  const piece = Buffer.alloc(kib);
  const give = (count: number): void => {
    for (let given = 0; given < count; given++) connection.intake.given(piece);
  };
  connection.intake.given(Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${428 * kib}\r\n\r\n`));
  give(128); // it may still be a small one
  assert.deepEqual(sizes.splice(0), Array(128).fill(kib));
  give(299);
  assert.deepEqual(sizes, [256 * kib]);
  await nextTurn();
  assert.deepEqual(sizes, [256 * kib, 43 * kib]);
  give(1);
  await nextTurn();
  assert.deepEqual(sizes, [256 * kib, 43 * kib, kib, 0]);
  connection.destroy();
});

test("what comes with the end of a large answer is nobody's answer", async () => {
  const kib = 1_024;
  const heard: string[] = [];
  const hears = (name: string): Receiver => ({
    started: () => void heard.push(`${name} began`),
    head: () => "bulk",
    data: (_bytes, done) => {
      done?.();
      return true;
    },
    end: () => void heard.push(`${name} ended`),
    failed: (error) => void heard.push(`${name} failed: ${String(error)}`),
  });
  const connection = new Connection(options, {
    idle: () => connection.send("GET /next HTTP/1.1\r\n\r\n", hears("the next")), // which had to wait
    closed: () => void heard.push("closed"),
  });
  connection.open(new PassThrough());
  connection.send("GET / HTTP/1.1\r\n\r\n", hears("it"));
  connection.intake.given(Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${384 * kib}\r\n\r\n`));
  connection.intake.given(Buffer.alloc(128 * kib));
  const more = Buffer.from("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
  connection.intake.given(Buffer.concat([Buffer.alloc(256 * kib), more]));
  assert.deepEqual(heard, [
    "it began",
    "it ended",
    "closed",
    "the next failed: Error: more came than was asked for",
  ]);
});

test("a proper answer is read as llhttp reads it, wherever it is cut, and the connection is used again", async () => {
  await fc.assert(
    fc.asyncProperty(proper, cuts, fc.constantFrom(...ways), async (text, shares, way) => {
      const bytes = Buffer.from(text, "latin1");
      const { verdict, isReused } = await read(piecesOf(bytes, shares), way);
      assert.equal(verdict.ok, true, text);
      assert.deepEqual(verdict, await llhttpVerdict([bytes]));
      assert.equal(isReused, true);
    }),
    runs,
  );
});

test("what is accepted of a mangled answer is what llhttp accepts, and no byte more", async () => {
  let accepted = 0;
  await fc.assert(
    fc.asyncProperty(mangled, cuts, fc.constantFrom(...ways), async (text, shares, way) => {
      const bytes = Buffer.from(text, "latin1");
      const { verdict, isReused } = await read(piecesOf(bytes, shares), way);
      if (!verdict.ok) return;
      accepted += 1;
      // told of all at once, llhttp refuses an answer for what comes behind it, which is no part of it
      const pieces = isReused ? [bytes] : [...bytes].map((byte) => Buffer.of(byte));
      assert.deepEqual(verdict, await llhttpVerdict(pieces));
    }),
    runs,
  );
  assert.ok(accepted > runs.numRuns / 100, `${accepted} were accepted`);
});

const headOf = (text: string): Head | string => {
  try {
    return readHead(text);
  } catch (error) {
    assert.ok(error instanceof InvalidAnswer);
    return error.message;
  }
};

test("a head is read to the letter of its grammar, whatever bytes it is of", () => {
  let [heads, refused] = [0, 0];
  fc.assert(
    fc.property(fc.oneof(headish, mangled, proper), (text) => {
      const [first = ""] = text.split("\r\n\r\n", 1);
      const head = headOf(first);
      const told = fieldsOf(first);
      if (told === undefined) {
        refused += 1;
        assert.match(String(head), /is not proper$/);
        return;
      }
      if (typeof head === "string") {
        assert.doesNotMatch(head, /is not proper$/); // it is one, whose words contradict each other
        return;
      }
      heads += 1;
      assert.equal(head.status, told.status);
      assert.deepEqual(
        Object.entries(head.headers).flatMap(([name, values]) =>
          [values].flat().map((value) => [name, value]),
        ),
        Object.entries(Object.groupBy(told.fields, ([name]) => name)).flatMap(
          ([, fields]) => fields ?? [],
        ),
      );
    }),
    { numRuns: 10_000 },
  );
  assert.ok(heads > 500 && refused > 500, `${heads} heads, ${refused} refused`);
});

test("the end of a head is found where it is first", () => {
  fc.assert(
    fc.property(fc.stringMatching(/^[a\r\n]{0,24}$/), fc.nat(8), (text, from) => {
      assert.equal(endOfHead(Buffer.from(text), from), text.indexOf("\r\n\r\n", from));
    }),
    { numRuns: 5_000 },
  );
});

test("a trailer's line is a field to the letter", () => {
  fc.assert(
    fc.property(headish, (text) => {
      for (const line of text.split("\r\n"))
        assert.equal(isField(line), fieldsOf(`HTTP/1.1 200\r\n${line}`) !== undefined, line);
    }),
    { numRuns: 2_000 },
  );
});

test("every single cut of an answer gives the same", async () => {
  for (const text of [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole",
    "HTTP/1.1 103 X\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n00a\r\n0123456789\r\n0\r\nA: b\r\n\r\n",
  ]) {
    const bytes = Buffer.from(text);
    const whole = (await read([bytes], "own")).verdict;
    assert.equal(whole.ok, true);
    for (let at = 1; at < bytes.length; at++) {
      const pieces = [bytes.subarray(0, at), bytes.subarray(at)];
      for (const way of ways)
        assert.deepEqual((await read(pieces, way)).verdict, whole, `cut at ${at}, ${way}`);
    }
    const single = [...bytes].map((byte) => Buffer.of(byte));
    for (const way of ways) assert.deepEqual((await read(single, way)).verdict, whole, way);
  }
});

for (const [what, text] of [
  ["a length and chunks", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"],
  ["two lengths", "Content-Length: 5\r\nContent-Length: 5\r\n"],
  ["a length that is no number", "Content-Length: +5\r\n"],
  ["another coding", "Transfer-Encoding: gzip, chunked\r\n"],
  ["neither length nor chunks", ""],
  ["a folded line", "Content-Length: 5\r\nX: a\r\n b\r\n"],
  ["a blank before the colon", "Content-Length : 5\r\n"],
  ["a control byte", "Content-Length: 5\r\nX: a\x01\r\n"],
  ["a bare line feed", "Content-Length: 5\nX: a\r\n"],
] as const)
  test(`${what} is no head`, () => {
    assert.throws(() => readHead(`HTTP/1.1 200 OK\r\n${text}`.replace(/\r\n$/, "")), {
      code: "ERR_INVALID_ANSWER",
    });
  });

for (const [what, chunks] of [
  ["a size of more than twelve digits", "0000000000001\r\na\r\n0\r\n\r\n"],
  ["a trailer that would frame the message", "1\r\na\r\n0\r\nContent-Length: 5\r\n\r\n"],
  ["more than 8 KiB of trailers", `1\r\na\r\n0\r\n${"A: b\r\n".repeat(2_000)}\r\n`],
] as const)
  test(`chunks with ${what} are no whole body`, async () => {
    const bytes = Buffer.from(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}`);
    for (const way of ways)
      assert.deepEqual(await read([bytes], way), { isReused: false, verdict: { ok: false } }, way);
  });
