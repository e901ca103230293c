/** No pattern of the sources, and no route, can be made to stall the loop by a text made for it. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { routes } from "../../src/routes.ts";
import { rawRequest } from "../support/raw-client.ts";
import { type Rig, startRig } from "../support/rig.ts";

/* ---- every regular expression of the sources ---- */

interface Pattern {
  readonly place: string;
  readonly regexp: RegExp;
}

/** A literal where a value may stand: after an opening bracket, a comma, an operator or a keyword. */
const literal =
  /(?:[(,=:[!&|?{};]|return|^)\s*\/((?:[^\\/[\n]|\\.|\[(?:[^\\\]\n]|\\.)*\])+)\/([dgimsuvy]*)(?=[\s.,;)\]}:]|$)/g;

const patternsOf = (file: string): readonly Pattern[] =>
  readFileSync(file, "utf8")
    .split("\n")
    .flatMap((line, at) => {
      if (/^\s*(?:\/\/|\/?\*)/.test(line)) return [];
      return [...line.matchAll(literal)].map(([, source = "", flags = ""]) => ({
        place: `${file}:${at + 1}`,
        regexp: new RegExp(source, flags.replace("g", "")),
      }));
    });

const patterns = globSync("src/**/*.ts").sort().flatMap(patternsOf);

const length = 16 * 1024;
/** A pattern that is not linear shows it at half of that. */
const probeLength = length / 2;
const pumps = [
  "a", "A", "0", " ", "\t", "/", "//", "/./", ".", "..", "-", "_", "=", ",", ":", "%2e", "%", "x=", "eyJaaaaa.", "[", "]", "'", '"', "\\",
  "\\\"", "token", "token=", "token: ", "a:", "a://", "a@", "-----BEGIN PRIVATE KEY-----", "Bearer ", "[::", "\0", "\u00e9", "ab-", "0a", "\n", "\r\n",
]; // biome-ignore format: a list
const tails = ["", "\0"];

/** The best of some tries: what the pattern itself costs, not what the machine was busy with. */
const costMs = (regexp: RegExp, text: string): number => {
  let best = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt < 5 && best > 20; attempt++) {
    const startedAt = performance.now();
    regexp.test(text);
    best = Math.min(best, performance.now() - startedAt);
  }
  return best;
};

/** Not linear, and never given such a text: why. */
const shortTexts: Readonly<Record<string, string>> = {
  "src/acl/policy-text.ts": "of keys: reads what has parsed as JSON, where every string ends",
  "src/agent/files/entry.ts": "gets nine digits",
  "src/config/reference.ts": "gets the documentation that it has just made",
  "src/registry/filter/coerce.ts": "gets no more than 80 characters",
};
const isSlow = (ms: number): boolean => ms > 40;

test("the patterns are found", () => {
  assert.ok(patterns.length > 80, String(patterns.length));
  const sources = new Set(patterns.map(({ regexp }) => regexp.source));
  for (const source of ["%2[eE]", "^\\d{1,15}$"]) assert.ok(sources.has(source), source);
});

test("no regular expression takes long for 16 KiB made for it, but those that never get it", () => {
  const slow = new Set<string>();
  const judged = patterns.filter(({ place }) => shortTexts[place.replace(/:.*/, "")] === undefined);
  for (const { place, regexp } of judged)
    for (const pump of pumps) {
      const text = pump.repeat(Math.ceil(probeLength / pump.length));
      if (!tails.some((tail) => isSlow(costMs(regexp, text + tail)))) continue;
      slow.add(place.replace(/:.*/, ""));
      break;
    }
  assert.deepEqual([...slow], []);
});

/* ---- every route ---- */

describe("paths of 16 KiB", () => {
  let rig: Rig;
  before(async () => {
    rig = await startRig({ settings: { limits: { max_header: "64KiB" } } });
  });
  after(() => rig[Symbol.asyncDispose]());

  test("are answered at once on each route, whatever stands for its id and behind it", async (t) => {
    const port = Number(new URL(rig.url).port);
    const token = rig.secret("management");
    const fills = ["a", "a/", "%61", "/", "%2F"];
    const paths = new Set(routes.map(({ path }) => path));
    const targets = [...paths].flatMap((path) =>
      fills.flatMap((fill) => {
        const long = fill.repeat(Math.floor((length - path.length - 8) / fill.length));
        return path.includes("id")
          ? [path.replace(/[:*]id/, long), `${path.replace(/[:*]id/, "x")}/${long}`]
          : [`${path}/${long}`, `${path}?${long}`];
      }),
    );
    const costs: number[] = [];
    for (const target of targets) {
      const startedAt = performance.now();
      const { status } = await rawRequest(
        port,
        `GET ${target} HTTP/1.1\r\nHost: gate\r\nX-Nomad-Token: ${token}\r\nConnection: close\r\n\r\n`,
      );
      costs.push(performance.now() - startedAt);
      assert.ok(status !== undefined && status < 505, target.slice(0, 60));
    }
    costs.sort((a, b) => a - b);
    const [median = 0, worst = 0] = [costs[costs.length >> 1], costs.at(-1)];
    t.diagnostic(
      `${targets.length} paths: median ${median.toFixed(1)} ms, worst ${worst.toFixed(1)} ms with its connection`,
    );
    assert.ok(worst < 2_000, `${worst} ms`);
    assert.ok(median < 100, `${median} ms`);
  });
});
