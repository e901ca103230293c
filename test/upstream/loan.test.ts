/** Bulk memory of a connection that rests: it is another answer's, however the bytes came. */
import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { Connection } from "../../src/upstream/connection.ts";
import type { Intake } from "../../src/upstream/intake.ts";
import { Loan } from "../../src/upstream/loans.ts";

const length = 400 * 1024;
const answer = Buffer.concat([
  Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`),
  Buffer.alloc(length),
]);
const pieceBytes = 16 * 1024;

const ways: Readonly<Record<string, (intake: Intake, piece: Buffer) => void>> = {
  "a stream": ({ given }, piece) => void given(Buffer.from(piece)),
  "a socket": ({ buffer, came }, piece) => {
    buffer().set(piece);
    came(piece.length);
    buffer(); // node:net asks for the next one behind each read
  },
};

for (const [way, bring] of Object.entries(ways))
  test(`an idle connection has given its bulk memory back: ${way}`, async () => {
    const lent = new Set<ArrayBufferLike>();
    const idle = Promise.withResolvers<void>();
    const connection = new Connection(
      { maxHeadBytes: 4_096, keepAliveMs: 30_000 },
      { idle: () => idle.resolve(), closed: () => undefined },
    );
    connection.open(new PassThrough());
    connection.send("GET / HTTP/1.1\r\n\r\n", {
      started: () => undefined,
      head: () => "bulk",
      data: (bytes, done) => {
        if (done) lent.add(bytes.buffer);
        done?.();
        return true;
      },
      end: () => undefined,
      failed: idle.reject,
    });
    for (let at = 0; at < answer.length; at += pieceBytes)
      bring(connection.intake, answer.subarray(at, at + pieceBytes));
    await idle.promise;
    assert.equal(lent.size, 1);
    assert.ok(lent.has(new Loan().buffer.buffer), "it is not free for another answer");
    connection.destroy();
  });
