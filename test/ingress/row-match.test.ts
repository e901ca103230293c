/** Plain paths are looked up without a router: what is found is what express finds. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, get } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { newTally } from "../../src/ingress/exchange.ts";
import { createOthers } from "../../src/ingress/others.ts";
import { matchRows, type RowMatch } from "../../src/ingress/row-match.ts";
import { readTarget } from "../../src/ingress/target.ts";
import type { Visit } from "../../src/ingress/visit.ts";
import { routes } from "../../src/routes.ts";

const id = "0A1b2c3d-0000-4000-8000-00000000000f";
const ids = [
  id,
  id.replaceAll("-", "a"),
  "------------------------------------",
  "web",
  "a%20b",
  "",
  "x/y",
  `${id}/`,
];

const paths = [
  ...new Set(routes.flatMap(({ path }) => ids.map((one) => path.replace(/[:*]id/, one)))),
];
const mutated = paths.flatMap((path) => [
  `${path}/`,
  path.toUpperCase(),
  path.slice(0, -1),
  `${path}/stats`,
]);

const visit: Visit = {
  id: "1",
  url: "/",
  method: "GET",
  raw: new Map(),
  client: { address: "127.0.0.1", authority: "a", scheme: "http" },
  startedAtMs: 0,
  tally: newTally(),
  route: undefined,
  key: undefined,
  exchange: undefined,
};

test("a path that is looked up has the rows and the id that express gives it", async () => {
  let found: RowMatch | undefined;
  const others = createOthers({
    take: (_visit, match, _request, response) => {
      found = match;
      response.end();
    },
    refuse: (_visit, _request, response) => void response.end(),
    answered: () => undefined,
  });
  await using server = createServer((request, response) =>
    others(visit, request.url ?? "", request, response),
  );
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo; // of a TCP server
  const byExpress = async (path: string): Promise<RowMatch | undefined> => {
    found = undefined;
    const [response] = await once(get({ port, path, host: "127.0.0.1" }), "response");
    response.resume();
    await once(response, "end");
    return found;
  };

  let looked = 0;
  for (const path of [...paths, ...mutated]) {
    const target = readTarget(path);
    const match = target.kind === "path" ? matchRows(target.path) : undefined;
    if (match === undefined) continue;
    looked += 1;
    assert.deepEqual(match, await byExpress(path), path);
  }
  assert.ok(looked >= routes.length / 2, `${looked} paths were looked up`);
});

test("every row for one allocation or node is looked up", () => {
  for (const { path } of routes)
    assert.ok(
      matchRows(path.replace(/[:*]id/, id))?.rows.some((row) => row.path === path),
      path,
    );
});
