/** Started by its environment alone, as in a container: what is set there applies, and what does not parse stops the start. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { stringify } from "yaml";
import { createHome } from "../support/processes.ts";

test("secrets and files given by the environment alone apply: anonymous is refused, the token is let in", async () => {
  await using home = createHome();
  const adminToken = "0123456789-admin-token-of-the-environment";
  const gateway = home.spawn(["server"], {
    env: {
      SERAI_DATA_DIR: path.join(home.directory, "gateway"),
      SERAI_HTTP_LISTEN: "127.0.0.1:0",
      SERAI_ADMIN_LISTEN: "127.0.0.1:0",
      SERAI_ADMIN_TOKEN: adminToken,
      SERAI_ACL_TOKENS_FILE: path.join(home.directory, "tokens.yaml"),
      SERAI_ACL_POLICIES_DIR: path.join(home.directory, "policies"),
      SERAI_ACL_JOIN_TOKENS_FILE: path.join(home.directory, "join.yaml"),
      SERAI_AUDIT_OUTPUT: home.auditFile,
      SERAI_TIMEOUTS_DRAIN_DELAY: "0s",
      SERAI_TIMEOUTS_DRAIN: "1s",
    },
  });
  const { url, admin } = await gateway.logged("gateway listens");
  const ask = async (target: string, headers: Record<string, string> = {}): Promise<string> => {
    const answer = await fetch(target, { headers });
    const text = await answer.text();
    return `${answer.status} ${answer.status === 403 ? text.trim() : ""}`.trim();
  };
  assert.equal(await ask(`${url}/v1/nodes`), "403 Permission denied");
  assert.equal(await ask(`${url}/v1/nodes`, { "x-nomad-token": "wrong" }), "403 Permission denied");
  assert.equal(await ask(`${url}/v1/nodes`, { "x-nomad-token": home.secrets.operator }), "200");
  assert.match(await ask(`${admin}/metrics`), /^403 /);
  assert.equal(await ask(`${admin}/metrics`, { authorization: `Bearer ${adminToken}` }), "200");
});

const unsound: readonly (readonly [setting: string, value: unknown])[] = [
  ["limits.max_body", "10 megs"],
  ["limits.max_header", ""],
  ["limits.max_sockets", "NaN"],
  ["timeouts.headers", "soon"],
  ["timeouts.idle", -1],
  ["limits.live_per_principal", 1.5],
]; // biome-ignore format: a table

test("limits that do not parse stop the start, each named with its file", async () => {
  await using home = createHome();
  const settings: Record<string, Record<string, unknown>> = {};
  for (const [setting, value] of unsound) {
    const [section = "", name = ""] = setting.split(".");
    settings[section] = { ...settings[section], [name]: value };
  }
  const file = path.join(home.directory, "unsound.yaml");
  writeFileSync(file, stringify(settings));
  const gateway = home.spawn(["server", "--config", file], {
    env: { SERAI_LIMITS_HANDSHAKE: "5 minutes or so" },
  });
  assert.deepEqual(await gateway.ended, { code: 1, signal: null });
  const said = gateway.errors.join("\n");
  for (const [setting] of unsound) assert.ok(said.includes(setting), `${setting} in:\n${said}`);
  assert.ok(said.includes("SERAI_LIMITS_HANDSHAKE"), said);
  assert.deepEqual(gateway.output, [], "it never listened");
});
