import assert from "node:assert/strict";
import { test } from "node:test";
import { addressTest, authorityOf, isLoopback } from "../../src/lib/addresses.ts";

for (const [ranges, address, isIn] of [
  [["10.0.0.0/8"], "10.255.0.1", true],
  [["10.0.0.0/8"], "11.0.0.1", false],
  [["10.0.0.1"], "10.0.0.1", true],
  [["10.0.0.1"], "10.0.0.2", false],
  [["fd00::/8"], "fd12::1", true],
  [["fd00::/8"], "fe80::1", false],
  [["::1"], "::1", true],
  [["10.0.0.0/8", "fd00::/8"], "fd00::1", true],
  [["0.0.0.0/0"], "a name", false],
  [[], "10.0.0.1", false],
] as const)
  test(`${address} is ${isIn ? "" : "not "}in ${ranges.join(" ") || "no range"}`, () => {
    assert.equal(addressTest(ranges)(address), isIn);
  });

for (const range of ["", "a name", "10.0.0.0/33", "fd00::/129"])
  test(`"${range}" is no range`, () => {
    assert.throws(() => addressTest([range]), RangeError);
  });

for (const [host, isOwn] of [
  ["127.0.0.1", true],
  ["127.9.9.9", true],
  ["::1", true],
  ["[::1]", true],
  ["localhost", true],
  ["LOCALHOST", true],
  ["127.0.0.1.example", false],
  ["0.0.0.0", false],
  ["::", false],
  ["10.0.0.1", false],
] as const)
  test(`a listener on ${host} is ${isOwn ? "" : "not "}this machine's alone`, () => {
    assert.equal(isLoopback(host), isOwn);
  });

test("an address of either kind is written with its port as a URL takes it", () => {
  for (const host of ["127.0.0.1", "::1", "agent.example"])
    assert.equal(new URL(`http://${authorityOf(host, 4646)}`).port, "4646");
});
