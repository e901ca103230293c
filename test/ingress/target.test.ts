import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { GatewayError } from "../../src/errors.ts";
import { readTarget } from "../../src/ingress/target.ts";

const paths: readonly (readonly [target: string, path: string, query: string])[] = [
  ["/v1/allocations", "/v1/allocations", ""],
  ["/v1/allocations?a=b", "/v1/allocations", "a=b"],
  ["/v1/%61llocations?x", "/v1/allocations", "x"],
  ["http://other.example/v1/status/leader", "/v1/status/leader", ""],
  ["/v1/client/fs/ls/", "/v1/client/fs/ls/", ""],
  ["/v1/job/a%2Fb/allocations", "/v1/job/a%2Fb/allocations", ""],
  ["/", "/", ""],
];

for (const [target, path, query] of paths)
  test(`${target} is the path ${path}`, () => {
    assert.deepEqual(readTarget(target), { kind: "path", path, query });
  });

const redirects: readonly (readonly [target: string, location: string])[] = [
  ["/v1//allocations", "/v1/allocations"],
  ["/v1/./allocations?a=b", "/v1/allocations?a=b"],
  ["//v1/allocations", "/v1/allocations"],
  ["/v1/client/allocation//stats", "/v1/client/allocation/stats"],
];

for (const [target, location] of redirects)
  test(`${target} is sent to ${location}`, () => {
    assert.deepEqual(readTarget(target), { kind: "redirect", location });
  });

const refused: readonly string[] = [
  "/v1/../allocations",
  "/v1/x/..",
  "/v1/%2e%2e/allocations",
  "/v1/%2E/allocations",
  "/v1/client/allocation/%2f/stats",
  "/v1/client/allocation/a%5cb/stats",
  "/v1/a\\b",
  "/v1/%00",
  "/v1/%0d%0aX: y",
  "/v1/%c0%af",
  "/v1/%zz",
  "/v1/ä",
  "v1/allocations",
  "*",
  `/${"a".repeat(17_000)}`,
];

for (const target of refused)
  test(`${target.slice(0, 40)} is refused with 400`, () => {
    assert.throws(
      () => readTarget(target),
      (error) => error instanceof GatewayError && error.status === 400,
    );
  });

test("whatever the target, it is a path, a redirect or a 400, and a path keeps its meaning", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme", maxLength: 80 }), (text) => {
      let target: ReturnType<typeof readTarget>;
      try {
        target = readTarget(`/${text}`);
      } catch (error) {
        return error instanceof GatewayError && error.status === 400;
      }
      if (target.kind === "redirect") return target.location.startsWith("/");
      const again = readTarget(target.path);
      return again.kind === "path" && again.path === target.path && !target.path.includes("..//");
    }),
    { numRuns: 2_000 },
  );
});

test("a path of 16 KiB is judged without a stall", () => {
  const before = process.cpuUsage();
  for (const piece of ["/a", "/%61", "/.", "//"])
    try {
      readTarget(piece.repeat(8_000).slice(0, 16_000));
    } catch (error) {
      assert.ok(error instanceof GatewayError);
    }
  assert.ok(process.cpuUsage(before).user < 2_000_000); // microseconds: others may have the core
});

test("a path of plain segments, which is read at once, is what it is behind one that is decoded", () => {
  const letters = "aZ09-_~.!@".split("");
  const segment = fc
    .array(fc.constantFrom(...letters), { maxLength: 5 })
    .map((all) => all.join(""));
  const isAsSent = (url: string, sent: string): boolean => {
    try {
      const target = readTarget(url);
      return target.kind === "path" && target.path === sent;
    } catch (error) {
      assert.ok(error instanceof GatewayError);
      return false;
    }
  };
  const seen = new Set<boolean>();
  fc.assert(
    fc.property(fc.array(segment, { minLength: 1, maxLength: 4 }), (segments) => {
      const path = `/${segments.join("/")}`;
      const alone = isAsSent(path, path);
      seen.add(alone);
      assert.equal(alone, isAsSent(`/%42${path}`, `/B${path}`));
    }),
    { numRuns: 2_000 },
  );
  assert.equal(seen.size, 2);
});
