/** The ring of a shared follow: whoever joins where it says so reads on without a lost or doubled byte. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type Cursor, type Entry, type LogFile, Ring } from "../../../src/carry/shared/ring.ts";

const maxBytes = 4_096;
const none = Buffer.alloc(0);

const fileOf = (index: number, inode = String(100 + index)): LogFile => ({
  file: `f.${index}`, index, inode, isUnsure: false,
}); // biome-ignore format: a row
const entering = (of: LogFile, offset = 0): Entry => ({
  of, bytes: none, end: offset, size: offset, event: undefined, missing: undefined, chunks: {},
}); // biome-ignore format: a row
const piece = (of: LogFile, bytes: Buffer, end: number, event?: Entry["event"]): Entry => ({
  of, bytes, end, size: end, event, missing: undefined, chunks: {},
}); // biome-ignore format: a row

/** A log of some files, and the ring that follows it. */
class Log {
  readonly ring = new Ring(maxBytes);
  readonly files: { readonly of: LogFile; content: Buffer }[] = [];
  #written = 0;

  constructor() {
    this.rotate();
  }

  get whole(): Buffer {
    return Buffer.concat(this.files.map(({ content }) => content));
  }

  rotate(): void {
    const of = fileOf(this.files.length);
    this.files.push({ of, content: none });
    this.ring.append(entering(of));
  }

  grow(length: number): void {
    const newest = this.files.at(-1);
    assert.ok(newest);
    const bytes = Buffer.from(Array.from({ length }, () => this.#written++ % 251));
    newest.content = Buffer.concat([newest.content, bytes]);
    this.ring.append(piece(newest.of, bytes, newest.content.length));
  }

  /** The stand of somebody who has read so many bytes of the whole log by himself. */
  standAt(position: number): { of: LogFile; offset: number; size: number } {
    let left = position;
    for (const { of, content } of this.files) {
      if (left <= content.length) return { of: { ...of }, offset: left, size: content.length };
      left -= content.length;
    }
    throw new Error("beyond the log");
  }
}

/** A viewer: reads alone, joins when it can, and reads from the ring. */
class Reader {
  readonly log: Log;
  readonly from: number;
  readonly parts: Buffer[] = [];
  cursor: Cursor | undefined;
  overtaken = 0;
  joined = 0;

  constructor(log: Log, from: number) {
    this.log = log;
    this.from = from;
  }

  get position(): number {
    return this.from + this.parts.reduce((sum, { length }) => sum + length, 0);
  }

  step(length: number): void {
    this.cursor ??= this.#joins();
    if (this.cursor === undefined) {
      this.parts.push(this.log.whole.subarray(this.position, this.position + length));
      return;
    }
    if (this.log.ring.hasLost(this.cursor)) {
      this.overtaken += 1;
      this.cursor = undefined;
      return;
    }
    const entry = this.log.ring.at(this.cursor.nth);
    if (entry === undefined) return;
    this.parts.push(entry.bytes.subarray(this.cursor.skip));
    this.cursor = { nth: this.cursor.nth + 1, skip: 0 };
  }

  #joins(): Cursor | undefined {
    const cursor = this.log.ring.find(this.log.standAt(this.position));
    if (cursor !== undefined) this.joined += 1;
    return cursor;
  }
}

const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ grow: fc.integer({ min: 1, max: 700 }) }) },
  { weight: 1, arbitrary: fc.constant("rotate" as const) },
  { weight: 2, arbitrary: fc.record({ come: fc.nat() }) },
  { weight: 8, arbitrary: fc.record({ who: fc.nat(), read: fc.integer({ min: 1, max: 900 }) }) },
);

test("any turns of growth, rotation, reading and overtaking: each viewer has its bytes, once and in order", () => {
  const seen = { joined: 0, overtaken: 0 };
  fc.assert(
    fc.property(fc.array(step, { minLength: 20, maxLength: 200 }), (steps) => {
      const log = new Log();
      const readers = [new Reader(log, 0)];
      for (const one of steps) {
        if (one === "rotate") log.rotate();
        else if ("grow" in one) log.grow(one.grow);
        else if ("come" in one) readers.push(new Reader(log, one.come % (log.whole.length + 1)));
        else readers[one.who % readers.length]?.step(one.read);
      }
      const whole = log.whole;
      for (const reader of readers) {
        while (reader.position < whole.length) reader.step(500);
        assert.ok(Buffer.concat(reader.parts).equals(whole.subarray(reader.from)));
        seen.joined += reader.joined;
        seen.overtaken += reader.overtaken;
      }
    }),
    { numRuns: 300 },
  );
  assert.ok(seen.joined > 300, `${seen.joined} joined`);
  assert.ok(seen.overtaken > 20, `${seen.overtaken} were overtaken`);
});

test("keeps no more than it may, in however small pieces", () => {
  const log = new Log();
  for (let nth = 0; nth < 10_000; nth++) log.grow(1);
  const kept = Array.from({ length: log.ring.next }, (_, nth) => log.ring.at(nth)).filter(Boolean);
  assert.ok(kept.length <= maxBytes / 256, `${kept.length} entries`);
});

test("nobody joins in the older half, which falls off soon", () => {
  const log = new Log();
  const [piece, beside] = [256, 256];
  for (let nth = 0; nth < 20; nth++) log.grow(piece);
  const half = maxBytes / 2 / (piece + beside);
  const stand = (pieces: number) => log.standAt(log.whole.length - pieces * piece);
  assert.notEqual(log.ring.find(stand(half)), undefined);
  assert.equal(log.ring.find(stand(half + 2)), undefined);
  assert.notEqual(log.ring.at(log.ring.next - half - 2), undefined); // it is still there
});

const grown = (): { ring: Ring; of: LogFile } => {
  const [ring, of] = [new Ring(maxBytes), fileOf(0)];
  ring.append(entering(of));
  ring.append(piece(of, Buffer.alloc(100), 100));
  return { ring, of };
};

test("a stand within a piece is found to the byte, its end is the next piece", () => {
  const { ring, of } = grown();
  assert.deepEqual(ring.find({ of, offset: 40, size: 100 }), { nth: 1, skip: 40 });
  assert.deepEqual(ring.find({ of, offset: 100, size: 100 }), { nth: 2, skip: 0 });
  assert.equal(ring.find({ of, offset: 101, size: 101 }), undefined);
});

test("another file with the same name is not taken for it", () => {
  const { ring, of } = grown();
  assert.equal(ring.find({ of: { ...of, inode: "7" }, offset: 40, size: 100 }), undefined);
  assert.equal(ring.find({ of: fileOf(1), offset: 40, size: 100 }), undefined);
});

test("a file that was shorter than the follow has seen it has been truncated since: nobody joins in it", () => {
  const { ring, of } = grown();
  assert.equal(ring.find({ of, offset: 40, size: 60 }), undefined);
});

for (const event of ["file truncated", "file deleted"] as const)
  test(`nobody joins in a file of which either side has heard ${event}`, () => {
    const { ring, of } = grown();
    assert.equal(ring.find({ of: { ...of, isUnsure: true }, offset: 100, size: 100 }), undefined);
    ring.append(piece(of, none, 100, event));
    assert.equal(ring.find({ of: fileOf(0), offset: 100, size: 100 }), undefined);
    const next = fileOf(1);
    ring.append(entering(next));
    assert.notEqual(ring.find({ of: fileOf(1), offset: 0, size: 0 }), undefined);
  });
