/** Files that change while everything runs: what is sound is taken, what is not stays out and is told in the figures. */
import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { issuerSettings, scriptService } from "../support/cluster-issuer.ts";
import { startCluster } from "../support/cluster-rig.ts";
import { get, rawClient } from "../support/raw-client.ts";
import { eventually, type Rig, startRig } from "../support/rig.ts";
import { answers } from "../support/scripted-nomad.ts";

const reloads = async (rig: Rig): Promise<string> => {
  const text = await (await fetch(`${rig.adminUrl}/metrics`)).text();
  return /^serai_config_last_reload_successful (\d)$/m.exec(text)?.[1] ?? "none";
};

test("a policy or tokens file that does not parse leaves the old rights and streams, and the figures say so", async () => {
  await using rig = await startRig({
    policies: {
      reader: {
        namespace: [{ default: { policy: "read", capabilities: ["read-logs"] } }],
        node: { policy: "read" },
      },
    },
    tokens: { reader: { policies: ["reader"] } },
    agents: [
      {
        workloads: [
          {
            job: "j",
            group: "g",
            tasks: [
              {
                name: "t",
                command: "/bin/sh",
                args: ["-c", "while :; do echo tick; sleep 0.1; done"],
                kill_timeout: "1s",
              },
            ],
          },
        ],
      },
    ],
  });
  const token = rig.secret("reader");
  const live = rawClient(
    Number(new URL(rig.url).port),
    get(
      `/v1/client/fs/logs/${rig.allocation("j")}?task=t&type=stdout&follow=true&plain=true`,
      `X-Nomad-Token: ${token}\r\n`,
    ),
  );
  await live.seen("tick");
  await rig.gateway.reload();
  assert.equal(await reloads(rig), "1");

  rig.writePolicy("reader", { namespace: [{ default: { policy: "everything" } }] });
  await rig.gateway.reload();
  assert.equal(await reloads(rig), "0");
  assert.equal((await rig.get("/v1/nodes", token)).status, 200, "the old policy stands");
  writeFileSync(path.join(rig.directory, "tokens.json"), '{"tokens": [');
  await rig.gateway.reload();
  assert.equal(await reloads(rig), "0");
  assert.equal((await rig.get("/v1/nodes", token)).status, 200, "the old tokens stand");
  const before = live.received().length;
  await eventually("the stream goes on", () => live.received().length > before || undefined);
  assert.equal(live.socket.destroyed, false);
  assert.match(rig.logText(), /"level":"(?:warn|error)"[^\n]*reader/);

  rig.writePolicy("reader", {
    namespace: [{ default: { policy: "read", capabilities: ["read-logs"] } }],
  });
  rig.addToken("later", { policies: ["reader"] });
  await rig.gateway.reload();
  assert.equal(await reloads(rig), "1");
  assert.equal((await rig.get("/v1/nodes", token)).status, 403, "the new policy has no node rule");
  assert.equal((await rig.get("/v1/allocations", rig.secret("later"))).status, 200);
  live.socket.destroy();
});

test("an audit file that cannot be opened again is written on, and everything else is taken", async () => {
  await using rig = await startRig({
    policies: { reader: { node: { policy: "read" } } },
    tokens: { reader: { policies: ["reader"] } },
    agents: [],
  });
  const file = path.join(rig.directory, "audit.log");
  rmSync(file);
  mkdirSync(file);
  rig.writePolicy("reader", { node: { policy: "deny" } });
  await rig.gateway.reload();
  assert.equal(await reloads(rig), "0");
  assert.equal((await rig.get("/v1/nodes", rig.secret("reader"))).status, 403);
  assert.match(rig.logText(), /the audit log cannot be opened again/);
  rmdirSync(file);
  await rig.gateway.reload();
  assert.equal(await reloads(rig), "1");
});

test("servers that do not answer keep no file from being opened again", async () => {
  const directory = mkdtempSync(path.join(tmpdir(), "serai-reload-"));
  await using stack = new AsyncDisposableStack();
  stack.defer(() => rmSync(directory, { recursive: true }));
  const output = path.join(directory, "audit.log");
  const rig = await startCluster({
    workloads: [],
    settings: { ...issuerSettings, audit: { output } },
    prepare: (nomad) => void scriptService(nomad),
  });
  stack.use(rig);
  for (const target of [...rig.nomad.overrides.keys()].filter((one) => one.startsWith("/v1/acl/")))
    rig.nomad.overrides.set(target, answers.never);
  renameSync(output, `${output}.1`);
  let isRead = false;
  const reading = rig.gateway.reload().then(() => {
    isRead = true;
  });
  await eventually("the new file", () => existsSync(output));
  assert.equal(isRead, false, "the servers are still asked");
  await reading;
});
