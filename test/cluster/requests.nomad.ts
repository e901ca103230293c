/** Request by request: what a caller gets of Nomad itself and through serai is the same, but for what is listed. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { noNomad } from "../support/nomad-cluster.ts";
import { compare, type Difference } from "./compare.ts";
import { type Permitted, permitted, permittedBy } from "./differences.ts";
import { compareExec, type ExecRow, execRows } from "./exec.ts";
import { type Row, rows } from "./requests.ts";
import { startWorld, type World } from "./world.ts";

const told = ({ aspect, nomad, serai }: Difference): string =>
  `${aspect}: Nomad ${nomad.slice(0, 300)} | serai ${serai.slice(0, 300)}`;

describe("beside a real Nomad", { skip: noNomad, timeout: 300_000 }, () => {
  let world: World;
  const used = new Set<Permitted>();
  before(async () => {
    world = await startWorld();
  });
  after(async () => {
    await world?.[Symbol.asyncDispose]();
  });

  const isExpected = (row: Pick<Row, "name" | "path">, difference: Difference): boolean => {
    const found = permittedBy(row, difference);
    if (found !== undefined) used.add(found);
    return found !== undefined;
  };

  const isOfClients = (asked: string): boolean =>
    / \/v1\/client\/(fs|stats|metadata|gc|allocation)|\/checks(\?|$)/.test(asked);
  const clientRequests = (): readonly string[] => world.relay.requests.filter(isOfClients);

  for (const row of rows)
    test(`${row.name}${row.token === undefined ? "" : ` (${row.token})`}`, async () => {
      const before = clientRequests().length;
      const found = await compare(row, world, (one) => isExpected(row, one));
      const wrong = found.filter((one) => !isExpected(row, one));
      assert.deepEqual(wrong.map(told), []);
      if (row.carried === true) assert.deepEqual(clientRequests().slice(before), []);
    });

  for (const row of execRows)
    test(`exec: ${row.name}`, async () => {
      const found = await compareExec(row, world);
      const wrong = found.filter((one) => !isExpected(toRow(row), one));
      assert.deepEqual(wrong.map(told), []);
    });

  test("what is carried went to the agents alone, and the servers were asked for all else", () => {
    assert.deepEqual(clientRequests(), []);
    const asked = world.relay.requests;
    assert.ok(asked.some((one) => one.startsWith("GET /v1/jobs")));
    assert.ok(!asked.some((one) => one.includes("/exec")));
  });

  test("each permitted difference occurred, and the documentation says it", () => {
    const page = readFileSync(new URL("../../docs/compatibility.md", import.meta.url), "utf8");
    for (const row of permitted) {
      assert.ok(used.has(row), `no answer differs any more: ${row.nomad}`);
      assert.ok(page.includes(row.nomad), `docs/compatibility.md does not say: ${row.nomad}`);
    }
  });
});

const toRow = ({ name }: ExecRow): Pick<Row, "name" | "path"> => ({
  name: `exec: ${name}`,
  path: "/v1/client/allocation/{alloc}/exec",
});
