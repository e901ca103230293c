/** The gateway's own tokens for a cluster's servers are exchanged while it runs: their files are read again at SIGHUP. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { createHome, until } from "../support/processes.ts";
import { ScriptedNomad } from "../support/scripted-nomad.ts";

const before = "0b1d0000-1111-4222-8333-444444444444";
const after = "4e3a0000-1111-4222-8333-444444444444";

test("a token whose file holds another one is shown to the servers from SIGHUP on; what is no secret is not", async () => {
  await using nomad = await ScriptedNomad.start({ heartbeatMs: 500 });
  let good = before;
  nomad.permits = (token) => token === good;
  await using home = createHome();
  const file = path.join(home.directory, "nomad-token");
  writeFileSync(file, `${before}\n`, { mode: 0o600 });
  const gateway = await home.gateway({
    registry: "nomad",
    nomad: { addresses: [nomad.origin], token_file: file },
    acl: { tokens_file: undefined, policies_dir: undefined },
  });
  const shown = (): ReadonlySet<string | undefined> =>
    new Set(nomad.requests.map(({ token }) => token));
  const readiness = async (): Promise<number> => (await fetch(`${gateway.adminUrl}/readyz`)).status;
  const reloaded = async (): Promise<string | undefined> => {
    const text = await (await fetch(`${gateway.adminUrl}/metrics`)).text();
    return /^serai_config_last_reload_successful (\d)$/m.exec(text)?.[1];
  };
  await until("ready", async () => (await readiness()) === 200 || undefined);
  assert.deepEqual(shown(), new Set([before]));

  good = after;
  nomad.cutStreams();
  nomad.requests.length = 0;
  writeFileSync(file, "short\n");
  gateway.kill("SIGHUP");
  await until("it is told", async () => (await reloaded()) === "0" || undefined);
  const refused = await gateway.logged("settings refused");
  assert.match(JSON.stringify(refused), /nomad-token.*must be a secret of 16 to 1024/);
  await until("it goes on", () => nomad.asked("/v1/event/stream").length > 0 || undefined);
  assert.deepEqual(shown(), new Set([before]));
  assert.equal(nomad.streams, 0);

  writeFileSync(file, `${after}\n`);
  gateway.kill("SIGHUP");
  await until("its streams are open", () => nomad.streams > 0 || undefined);
  assert.equal(await reloaded(), "1");
  await until("ready", async () => (await readiness()) === 200 || undefined);
});
