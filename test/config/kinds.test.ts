/** What each kind of setting takes, up to its bounds, and what it refuses beside them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import * as kinds from "../../src/config/kinds.ts";

interface Case {
  readonly kind: kinds.Kind<unknown, string>;
  /** What is given, and what becomes of it. */
  readonly taken: readonly (readonly [given: unknown, value: unknown])[];
  readonly refused: readonly unknown[];
}

const same = (...values: readonly unknown[]): Case["taken"] => values.map((one) => [one, one]);
const uuid = "54bc24bf-b455-d16b-fb44-abb740ea7b4b";
const textsRefused = ["", " ", "a\nb", "a\u0000", "a\u2028b", 1, undefined, ["a"]];

// biome-ignore format: a table
const cases: Readonly<Record<string, Case>> = {
  text: { kind: kinds.text, taken: same("a", " a b "), refused: textsRefused },
  "a plain name": { kind: kinds.plainName, taken: same("a".repeat(128)), refused: ["a".repeat(129), ".a", "a/b", ".."] },
  "a node's id": { kind: kinds.nodeId, taken: same(uuid, uuid.toUpperCase()), refused: [uuid.slice(1), `${uuid}0`] },
  "a secret": { kind: kinds.secretText, taken: same("s".repeat(16), "s".repeat(1024)), refused: ["s".repeat(15), "s".repeat(1025), "with a blank in it"] },
  "a URL": { kind: kinds.httpUrl, taken: same("https://a.example/b?c", "http://127.0.0.1:1"), refused: ["ftp://a", "file:///etc/passwd", "https://user:secret@a", "https://:secret@a", "https://a/#b", "a.example"] },
  origins: { kind: kinds.origins, taken: [[["https://A.example"], ["https://a.example"]], [[], []]], refused: [["https://a.example/"], ["ftp://a"], ["https://a.example", 1], "https://a.example"] },
  servers: { kind: kinds.servers, taken: [[["https://A.example:443/"], ["https://a.example"]]], refused: [["https://a/b"], ["https://user@a"], ["https://a?b"]] },
  "a truth": { kind: kinds.flag, taken: same(true, false), refused: ["true", 1, undefined] },
  "a whole number": { kind: kinds.integer(1, 9), taken: same(1, 9), refused: [0, 10, 1.5, "1", Number.NaN] },
  "a duration": { kind: kinds.duration, taken: [["1ms", 1], ["2147483647ms", 2 ** 31 - 1]], refused: ["0s", "2147483648ms", "1", 1, "-1s"] },
  "a duration or none": { kind: kinds.durationOrZero, taken: [["0s", 0]], refused: ["-1ms"] },
  "a size": { kind: kinds.size("1KiB", "1MB"), taken: [["1KiB", 1_024], ["1024B", 1_024], ["1MB", 1e6]], refused: ["1023B", "1000001B", "1MiB", "2", 2_000, "1 MB"] },
  "host and port": { kind: kinds.hostPort, taken: [["[::1]:0", { host: "::1", port: 0 }], ["a.b:65535", { host: "a.b", port: 65_535 }]], refused: ["a:65536", "a", "[127.0.0.1]:1", "::1:1", ":1"] },
  networks: { kind: kinds.networks, taken: same(["10.0.0.0/32", "fd00::/128", "10.0.0.1", "0.0.0.0/0"]), refused: [["10.0.0.0/33"], ["fd00::/129"], ["10.0.0.0/8/8"], ["10.0.0.0/"], ["a"], ["10.0.0.0/8", ""]] },
  arguments: { kind: kinds.argumentList, taken: same(["", "a\nb"]), refused: [["a\0"], [1], "a"] },
  "a map": { kind: kinds.textMap, taken: [[{ a: 1, b: true, c: "" }, { a: "1", b: "true", c: "" }]], refused: [{ a: "\0" }, { "": "a" }, { a: null }, ["a"], null] },
};

for (const [name, { kind, taken, refused }] of Object.entries(cases))
  test(`${name}: what is taken, and what is refused`, () => {
    for (const [given, value] of taken) assert.deepEqual(kind.parse(given), value, String(given));
    for (const given of refused) assert.equal(kind.parse(given), undefined, String(given));
  });

test("what variables and flags hold as text is read as what a file would hold", () => {
  const { flag, texts, integer } = kinds;
  const number = integer(0, 9);
  const read = [flag.fromText("true"), flag.fromText("false"), flag.fromText("yes")];
  assert.deepEqual(read, [true, false, "yes"]);
  assert.deepEqual([texts.fromText(" "), texts.fromText("a, b")], [[], ["a", "b"]]);
  assert.deepEqual(["-1", "1.5", "1e3", ""].map(number.fromText), [-1, 1.5, "1e3", ""]);
});
