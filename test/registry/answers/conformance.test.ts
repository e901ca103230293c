/** The recorded answers of Nomad's servers, asked again of registries that hold the same documents. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseBody } from "../../../src/bodies.ts";
import { type Json, parseJson, stringifyJson } from "../../../src/lib/json.ts";
import { routes } from "../../../src/routes.ts";
import { createAsk, type Outcome } from "./ask.ts";
import { differences } from "./differences.ts";
import {
  bodyOf,
  companions,
  companionsRegistry,
  type GoldenCase,
  servers,
  serversRegistry,
} from "./golden.ts";
import type { MemoryRegistry } from "./memory-registry.ts";

const patternOf = (path: string): RegExp =>
  new RegExp(`^${path.replace(/[:*]id/, (key) => (key === "*id" ? "(.*)" : "([^/]*)"))}$`);

const rows = routes
  .filter(({ carriage }) => carriage === "registry")
  .map((route) => ({ route, pattern: patternOf(route.path) }));

const rowOf = ({ request }: GoldenCase) => {
  for (const { route, pattern } of rows) {
    const match = pattern.exec(request.path);
    if (match)
      return { route: route.name, key: decodeURIComponent(match[1] ?? ""), body: route.body };
  }
  throw new Error(`no row for ${request.path}`);
};

const tokenOf = ({ request }: GoldenCase): string => {
  const sent = request.headers?.find(([name]) => name === "X-Nomad-Token")?.[1] ?? "";
  return /^\{token:(.*)\}$/.exec(sent)?.[1] ?? sent;
};

/** A recorded second of waiting is replayed as a moment. */
const queryOf = ({ request }: GoldenCase): string =>
  (request.query ?? "").replace(/wait=(1s|500ms)/, "wait=30ms");

const nomadHeaders = (headers: Iterable<readonly [string, string]>) =>
  [...headers]
    .filter(([name]) => name.startsWith("X-Nomad-"))
    .map(([name, value]) => (name === "X-Nomad-Index" ? [name, "an index"] : [name, value]))
    .sort();

const masked = (value: Json, path: readonly string[]): Json => {
  const [part, ...rest] = path;
  if (part === undefined) return "not compared";
  if (typeof value !== "object" || value === null) return value;
  const at = (member: Json, name: string): Json =>
    part === "*" || part === name ? masked(member, rest) : member;
  if (Array.isArray(value)) return value.map((item: Json, i) => at(item, String(i)));
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [name, at(member, name)]),
  );
};

const comparable = (text: string, paths: readonly string[]): Json =>
  paths.reduce<Json>((value, path) => masked(value, path.split("/").slice(1)), parseJson(text));

const compare = (cases: readonly GoldenCase[], one: GoldenCase, outcome: Outcome): void => {
  const recorded = bodyOf(cases, one);
  const allowed = differences
    .filter(({ of }) => of.test(one.name))
    .flatMap(({ paths = [] }) => paths);
  assert.equal(outcome.status, one.response.status, outcome.text);
  const headers = nomadHeaders(Object.entries(outcome.headers));
  if (!allowed.includes("headers")) assert.deepEqual(headers, nomadHeaders(one.response.headers));
  if (recorded === undefined || recorded === "") return;
  if (outcome.status !== 200) assert.equal(outcome.text, recorded);
  else
    assert.deepEqual(
      comparable(stringifyJson(outcome.document), allowed),
      comparable(recorded, allowed),
    );
};

const isReplayed = ({ name }: GoldenCase): boolean =>
  !differences.some(({ of, paths }) => paths === undefined && of.test(name));

const replay = (file: string, cases: readonly GoldenCase[], registry: MemoryRegistry): void => {
  const ask = createAsk(registry);
  for (const one of cases.filter(isReplayed))
    test(`${file} answers as recorded: ${one.name}`, async () => {
      const { route, key, body } = rowOf(one);
      const sent = parseBody(body, one.request.body);
      const outcome = await ask({
        route,
        key,
        query: queryOf(one),
        token: tokenOf(one),
        ...(sent === undefined ? {} : { body: sent }),
      });
      compare(cases, one, outcome);
    });
};

test("every difference is one of a recorded case", () => {
  const names = [...servers, ...companions].map(({ name }) => name);
  for (const { of } of differences)
    assert.ok(
      names.some((name) => of.test(name)),
      String(of),
    );
});

replay("servers", servers, serversRegistry());
replay("companions", companions, companionsRegistry());
