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

  test("ranges are made of what Nomad's own agent has: the parts are the file's, its refusals are refusals", async () => {
    const { alloc = "" } = world.words("serai");
    const ask = (file: string, headers: Readonly<Record<string, string>>, method = "GET") =>
      fetch(`${world.url("serai")}/v1/client/fs/cat/${alloc}?path=${file}`, {
        method,
        headers: { "X-Nomad-Token": world.token("operator"), ...headers },
      });
    const file = "alloc/data/hello.txt";
    const whole = await (await ask(file, {})).text();
    assert.ok(whole.length > 3);
    const part = await ask(file, { Range: "bytes=2-" });
    assert.deepEqual([part.status, await part.text()], [206, whole.slice(2)]);
    const head = await ask(file, { Range: "bytes=0-" }, "HEAD");
    const tag = head.headers.get("etag") ?? assert.fail("no ETag");
    assert.equal(head.headers.get("content-length"), String(whole.length));
    const same = await ask(file, { Range: "bytes=1-1", "If-Range": tag });
    assert.deepEqual([same.status, await same.text()], [206, whole[1]]);
    const other = await ask(file, { Range: "bytes=1-1", "If-Range": '"other"' });
    assert.deepEqual([other.status, await other.text()], [200, whole]);
    const behind = await ask(file, { Range: `bytes=${whole.length}-` });
    assert.equal(behind.headers.get("content-range"), `bytes */${whole.length}`);
    assert.equal(behind.status, 416);
    const none = await ask("alloc/data/none", { Range: "bytes=0-" });
    assert.equal(none.status, 404);
    const logs = await fetch(
      `${world.url("serai")}/v1/client/fs/logs/${alloc}?task=x&type=stdout&follow=true&until=dead`,
      { headers: { "X-Nomad-Token": world.token("operator") } },
    );
    assert.equal(logs.status, 400);
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
