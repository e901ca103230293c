/** `serai connect` as an operator meets it: what is wrong is told at once, and SIGTERM ends it well though no gateway is there. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { freePort } from "../support/free-port.ts";
import { until } from "../support/processes.ts";
import { allGone, serai, temporaryDirectory } from "./support.ts";

const id = "7d2d6b1e-63c9-4d5d-8f0b-2f6a1c9d3e55";

test("every mistake of its settings is told at once, one a line", async () => {
  using directory = temporaryDirectory();
  const file = path.join(directory.path, "connect.yaml");
  writeFileSync(file, "agents: [{node_id: mine}, {node_id: x, adress: 1}]\n");
  const started = serai(["connect", "--config", file]);
  assert.equal((await started.ended).code, 1);
  const words = "must be a node's id, as `nomad node status -self` prints it";
  assert.deepEqual(started.stderr().trimEnd().split("\n"), [
    `serai: file ${file}: gateways: is required`,
    `serai: file ${file}: agents.0.node_id: ${words}`,
    `serai: file ${file}: agents.1.node_id: ${words}`,
    `serai: file ${file}: agents.1.adress: unknown setting`,
  ]);
});

test("no tunnel goes to another machine in the clear, and no node has two", async () => {
  using directory = temporaryDirectory();
  const file = path.join(directory.path, "connect.yaml");
  writeFileSync(file, `agents: [{node_id: ${id}}, {node_id: ${id.toUpperCase()}}]\n`);
  const env = { SERAI_CONNECT_GATEWAYS: "http://127.0.0.1:4646,http://gate.example:4646" };
  const started = serai(["connect", "--config", file], { env });
  assert.equal((await started.ended).code, 1);
  assert.match(
    started.stderr(),
    /GATEWAYS: gate\.example:4646 is another machine; use https, or set cleartext\n/,
  );
  assert.match(started.stderr(), new RegExp(`agents: two are node ${id}\n$`));
});

test("a gateway that is away is told of and dialled again, until SIGTERM", async () => {
  using directory = temporaryDirectory();
  const at = (name: string): string => path.join(directory.path, name);
  const gateways = await Promise.all([freePort(), freePort()]);
  const secret = "0123456789abcdef0123456789abcdef";
  writeFileSync(at("token"), `${secret}\n`, { mode: 0o600 });
  writeFileSync(at("connect.yaml"), `agents: [{node_id: ${id}}]\n`);
  const env = {
    SERAI_CONNECT_GATEWAYS: gateways.map((port) => `http://127.0.0.1:${port}`).join(","),
    SERAI_CONNECT_JOIN_TOKEN_FILE: at("token"),
  };
  const started = serai(["connect", "--config", at("connect.yaml")], { env });
  await until("it has dialled", () => started.stdout().includes("no tunnel to the gateway"));
  started.child.kill("SIGTERM");
  assert.deepEqual(await started.ended, { code: 0, signal: null });
  assert.match(
    started.stdout(),
    /"reason":"ECONNREFUSED".*"msg":"no tunnel to the gateway; trying again"/,
  );
  assert.match(started.stdout(), /"msg":"connector closed"/);
  assert.equal(started.stderr(), "");
  assert.ok(!started.stdout().includes(secret));
  await allGone(directory.path);
});
