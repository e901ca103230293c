/**
 * How an agent's answer is read: as llhttp reads it or more strictly, whatever the bytes and wherever they are cut. Nobody
 * ever gets a longer body, or one from an answer that llhttp refuses.
 */
import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import fc from "fast-check";
import { Connection, type Receiver } from "../../src/upstream/connection.ts";
import { readHead } from "../../src/upstream/head.ts";
import { cuts, mangled, piecesOf, proper } from "./answers.ts";
import { llhttpVerdict, type Verdict } from "./llhttp.ts";

const options = { maxHeadBytes: 4_096, keepAliveMs: 1_000 };

interface Read {
  readonly verdict: Verdict;
  /** The connection was given back for another request. */
  readonly isReused: boolean;
}

/** What a connection makes of an answer that comes in these pieces; those in shared memory are overwritten afterwards. */
const read = (pieces: readonly Buffer[], memory: "own" | "shared"): Read => {
  let status = 0;
  let isOver = false;
  let isReused = false;
  const bodies: Buffer[] = [];
  const receiver: Receiver = {
    started: () => undefined,
    head: (head) => {
      status = head.status;
      return "small";
    },
    data: (bytes) => {
      bodies.push(bytes);
      return true;
    },
    end: () => {
      isOver = true;
    },
    failed: () => undefined,
  };
  const connection = new Connection(options, {
    idle: () => {
      isReused = true;
    },
    closed: () => {
      isReused = false;
    },
  });
  const socket = new PassThrough();
  connection.open(socket);
  connection.send("GET / HTTP/1.1\r\n\r\n", receiver);
  for (const piece of pieces)
    if (memory === "own") connection.intake.given(Buffer.from(piece));
    else {
      const buffer = connection.intake.buffer();
      buffer.set(piece);
      connection.intake.came(piece.length);
      buffer.fill(0x21, 0, piece.length);
    }
  const reused = isReused;
  connection.destroy();
  const body = Buffer.concat(bodies).toString("latin1");
  return { isReused: reused, verdict: isOver ? { ok: true, status, body } : { ok: false } };
};

const runs = { numRuns: 2_000 };

test("a proper answer is read as llhttp reads it, wherever it is cut, and the connection is used again", async () => {
  await fc.assert(
    fc.asyncProperty(
      proper,
      cuts,
      fc.constantFrom("own", "shared"),
      async (text, shares, memory) => {
        const bytes = Buffer.from(text, "latin1");
        const { verdict, isReused } = read(piecesOf(bytes, shares), memory);
        assert.equal(verdict.ok, true, text);
        assert.deepEqual(verdict, await llhttpVerdict([bytes]));
        assert.equal(isReused, true);
      },
    ),
    runs,
  );
});

test("what is accepted of a mangled answer is what llhttp accepts, and no byte more", async () => {
  let accepted = 0;
  await fc.assert(
    fc.asyncProperty(mangled, cuts, async (text, shares) => {
      const bytes = Buffer.from(text, "latin1");
      const { verdict, isReused } = read(piecesOf(bytes, shares), "shared");
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

test("every single cut of an answer gives the same", () => {
  for (const text of [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole",
    "HTTP/1.1 103 X\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n00a\r\n0123456789\r\n0\r\nA: b\r\n\r\n",
  ]) {
    const bytes = Buffer.from(text);
    const whole = read([bytes], "own").verdict;
    assert.equal(whole.ok, true);
    for (let at = 1; at < bytes.length; at++) {
      const pieces = [bytes.subarray(0, at), bytes.subarray(at)];
      assert.deepEqual(read(pieces, "shared").verdict, whole, `cut at ${at}`);
    }
    assert.deepEqual(
      read(
        [...bytes].map((byte) => Buffer.of(byte)),
        "shared",
      ).verdict,
      whole,
    );
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
