/** Targets are kept as they were read: what a hostile caller can fill with them is bounded. */
import assert from "node:assert/strict";
import { Socket } from "node:net";
import { test } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { createBegin } from "../../../src/ingress/plain/begin.ts";
import { readFields } from "../../../src/ingress/plain/head.ts";
import { createVisits } from "../../../src/ingress/visit.ts";

setFlagsFromString("--expose-gc");
const collect: () => void = runInNewContext("gc");

const heldMib = (): number => {
  collect();
  return process.memoryUsage().heapUsed / 2 ** 20;
};

test("targets that name as many parameters as they can are kept within a bound", () => {
  const visits = createVisits(
    {
      region: "global",
      maxBodyBytes: 1_024,
      checkRegistryParameters: () => undefined,
      travel: () => Promise.resolve(),
      started: () => undefined,
      ended: () => undefined,
      nextId: () => "t-1",
      isDraining: () => false,
    },
    { allowedOrigins: [] },
  );
  let reads = 0;
  const counted: typeof visits = {
    ...visits,
    read: (match, raw) => {
      reads += 1;
      return visits.read(match, raw);
    },
  };
  const begin = createBegin(counted, {
    region: "global",
    passes: false,
    isTrustedProxy: () => false,
  });
  const fields = readFields("Host: here\r\nContent-Encoding: gzip\r\n"); // its sender is refused: only the target is read
  assert.ok(fields !== undefined);
  const socket = new Socket();
  const ask = (url: string): boolean =>
    begin(`GET ${url} HTTP/1.1`, fields, {
      socket,
      answer: () => assert.fail("it is not answered"),
    });
  const names = Array.from({ length: 150 }, (_, at) => at.toString(36).padStart(2, "z")).join("&");
  const before = heldMib();
  for (let nth = 0; nth < 8_000; nth++)
    assert.equal(ask(`/v1/client/stats?n${nth}&${names}`.slice(0, 490)), false);
  const kept = heldMib() - before;
  assert.equal(reads, 8_000);
  ask(`/v1/client/stats?n7999&${names}`.slice(0, 490));
  assert.equal(reads, 8_000, "the last one is kept");
  assert.ok(kept < 24, `${kept} MiB are kept`);
});
