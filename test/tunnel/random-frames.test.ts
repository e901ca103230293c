/** Random and damaged frames at either end of a tunnel: it ends or lives on, nothing is thrown, and no stream is left. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { createLink } from "../../src/tunnel/link.ts";
import {
  data,
  flags,
  frame,
  goaway,
  headers,
  hpack,
  ping,
  preface,
  reset,
  settings,
  windowUpdate,
} from "../support/frames.ts";
import { until } from "../support/processes.ts";
import { behind, connectedPair, endedSoon } from "./support.ts";

const runs = 300;

const stream = fc.oneof(fc.constantFrom(0, 1, 2, 3, 5), fc.nat(0x7fffffff));
const block = fc.oneof(
  fc.constantFrom(
    hpack.status200,
    hpack.connect("agent"),
    hpack.plain(":status", "103"),
    hpack.connect("127.0.0.1:22"),
  ),
  fc.uint8Array({ maxLength: 64 }).map((bytes) => Buffer.from(bytes)),
);
const payload = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes));

const proper = fc.oneof(
  fc
    .tuple(stream, block, fc.constantFrom(0, flags.endHeaders, flags.endHeaders | flags.endStream))
    .map(([id, text, flag]) => headers(id, text, flag)),
  fc.tuple(stream, payload, fc.nat(1)).map(([id, bytes, flag]) => data(id, bytes, flag)),
  fc.tuple(stream, fc.nat(13)).map(([id, error]) => reset(id, error)),
  fc.tuple(stream, fc.nat(0x7fffffff)).map(([id, by]) => windowUpdate(id, by)),
  fc.tuple(fc.nat(8), fc.nat(0xffffffff)).map(([id, value]) => settings({ [id]: value })),
  fc.nat(0x7fffffff).map((id) => goaway(id)),
  fc.constant(ping()),
);
const odd = fc
  .tuple(fc.nat(255), fc.nat(255), stream, payload)
  .map(([type, flag, id, bytes]) => frame(type, flag, id, bytes));

/** Whole frames, of which a byte may be another. */
const damaged = fc
  .tuple(
    fc.array(fc.oneof({ weight: 3, arbitrary: proper }, odd), { maxLength: 20 }),
    fc.option(fc.tuple(fc.nat(), fc.nat(255))),
  )
  .map(([frames, damage]) => {
    const bytes = Buffer.concat(frames);
    if (damage !== null && bytes.length > 0) bytes[damage[0] % bytes.length] = damage[1];
    return bytes;
  });

const parameters = { numRuns: runs, seed: Math.trunc(performance.timeOrigin) % 0x7fffffff };

test("random frames of an agent end its tunnel or are borne, and nobody waits in vain", async (t) => {
  t.diagnostic(`seed ${parameters.seed}`);
  await fc.assert(
    fc.asyncProperty(damaged, async (bytes) => {
      await using pair = await connectedPair();
      const ended = Promise.withResolvers<string>();
      const link = createLink(
        pair.near,
        { ended: ended.resolve, leaving: () => undefined },
        { openMs: 50 },
      );
      const opened = new Promise<boolean>((resolve) => {
        link.open((_error, connection) => {
          connection?.on("error", () => undefined);
          resolve(connection !== null);
        });
      });
      pair.far.resume();
      pair.far.write(Buffer.concat([settings(), bytes]));
      pair.far.end(); // read to its end before the connection is
      await opened;
      assert.notEqual(await endedSoon(ended.promise), "");
      await until("its streams are closed", () => link.streams === 0);
      assert.equal(link.isOpen, false);
    }),
    parameters,
  );
});

test("random frames of a gateway end its tunnel or are borne, and no stream is left", async (t) => {
  t.diagnostic(`seed ${parameters.seed}`);
  await fc.assert(
    fc.asyncProperty(damaged, async (bytes) => {
      await using pair = await connectedPair();
      const served = behind(pair.far, (_request, response) => response.end("x"));
      pair.near.resume();
      pair.near.write(
        Buffer.concat([preface, settings(), headers(1, hpack.connect("agent")), bytes]),
      );
      pair.near.end(); // read to its end before the connection is
      assert.notEqual(await endedSoon(served.ended), "");
      await until("its streams are closed", () => served.streams === 0);
    }),
    parameters,
  );
});
