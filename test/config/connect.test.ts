/** What proves the nodes of connectors and agents that dial out: what is missing or half is said, node by node. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { loadAgentConfig, loadConnectConfig } from "../../src/config/load.ts";

const directory = mkdtempSync(path.join(tmpdir(), "serai-connect-"));
after(() => rmSync(directory, { recursive: true, force: true }));
const one = "7d2d6b1e-63c9-4d5d-8f0b-2f6a1c9d3e55";
const two = "11111111-1111-4111-8111-111111111111";
const pair = { cert_file: "/node.crt", key_file: "/node.key" };

const load = (settings: object, env: Readonly<Record<string, string>> = {}) => {
  const file = path.join(directory, "connect.json");
  writeFileSync(file, JSON.stringify({ gateways: ["https://gate.example:4646"], ...settings }));
  return loadConnectConfig({ file, env });
};

test("a node with neither token nor certificate is warned of by its id", () => {
  const agents = [{ node_id: one, ...pair }, { node_id: two }];
  assert.deepEqual(load({ agents }).warnings, [
    `node ${two} has neither join_token nor cert_file: the gateway will not let it join`,
  ]);
  const env = { SERAI_CONNECT_JOIN_TOKEN: "0123456789abcdef0123456789abcdef" };
  assert.deepEqual(load({ agents }, env).warnings, []);
  assert.deepEqual(load({ agents: [{ node_id: one, ...pair }] }).warnings, []);
});

test("a certificate needs its key, and TLS to be shown in", () => {
  const half = [{ node_id: one, cert_file: "/node.crt" }];
  assert.throws(() => load({ agents: half }), /agents\.0\.cert_file: needs key_file beside it/);
  const whole = { gateways: ["http://127.0.0.1:4646"], agents: [{ node_id: one, ...pair }] };
  assert.throws(
    () => load(whole),
    /gateways: 127\.0\.0\.1:4646 is without TLS, where no certificate can be shown/,
  );
});

test("an agent's certificate needs its key, and TLS where it is shown, and spares the join token", () => {
  const file = path.join(directory, "agent.json");
  const loadAgent = (gateway: object) => {
    writeFileSync(file, JSON.stringify({ gateway: { tunnel: true, ...gateway } }));
    return loadAgentConfig({ file, env: {} });
  };
  const own = { cert_file: "/node.crt", key_file: "/node.key" };
  assert.throws(
    () => loadAgent({ cert_file: "/node.crt" }),
    /gateway\.cert_file: needs gateway\.key_file/,
  );
  assert.throws(
    () => loadAgent({ ...own, address: "http://127.0.0.1:4646" }),
    /gateway\.cert_file: 127\.0\.0\.1:4646 is without TLS/,
  );
  assert.throws(
    () => loadAgent({ ...own, tunnel: false, address: "http://gate.example" }),
    /gateway\.cert_file: gate\.example is without TLS/,
  );
  const beside = { tunnel_addresses: ["https://gate.example"], join_token: "j".repeat(32) };
  assert.deepEqual(loadAgent({ ...own, ...beside, address: "http://127.0.0.1:4646" }).warnings, []);
  assert.deepEqual(loadAgent({ ...own, address: "https://gate.example" }).warnings, []);
  assert.deepEqual(loadAgent({}).warnings, [
    "neither gateway.join_token nor gateway.cert_file is set: the gateway will not let this agent join",
  ]);
});
