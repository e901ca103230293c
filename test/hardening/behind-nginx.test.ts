/** Behind a real nginx with the settings that docs/operating.md gives: nothing is held back, and what nginx cuts goes on exactly. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { until } from "../support/processes.ts";
import { startProxy } from "../support/proxies.ts";
import { get, parseAnswer, rawClient, rawRequest } from "../support/raw-client.ts";
import { type Rig, startRig } from "../support/rig.ts";
import { execClient } from "../support/ws-client.ts";

/** Seconds that nginx waits for a byte; as many as an operator has minutes. */
const patience = 2;

const documented =
  /```nginx\n([\s\S]+?)```/.exec(readFileSync("docs/operating.md", "utf8"))?.[1] ?? "";

const script = [
  "echo one",
  "while [ ! -e $NOMAD_ALLOC_DIR/data/go ]; do sleep 0.02; done",
  "echo two",
  "exec sleep 1000",
].join("; ");

const startBehind = (): Promise<Rig> =>
  startRig({
    policies: { all: { namespace: [{ "*": { policy: "write", capabilities: ["alloc-node-exec"] } }] } },
    tokens: { all: { policies: ["all"] } },
    agents: [
      {
        workloads: [
          { job: "silent", group: "main", tasks: [{ name: "main", command: "/bin/sh", args: ["-c", script], kill_timeout: "1s" }] },
        ],
      },
    ],
    settings: { http: { trust_proxy: ["127.0.0.1/32"] } },
  }); // biome-ignore format: rows

test("followed logs, execs and addresses through nginx as the documentation sets it up", async (t) => {
  await using rig = await startBehind();
  const own = new URL(rig.url).port;
  await using nginx = await startProxy(t, "nginx", (port) =>
    documented
      .replace(/listen [^;]+;/, `listen 127.0.0.1:${port};`)
      .replace(/ssl_certificate[^;]*;/g, "")
      .replace("127.0.0.1:4646", `127.0.0.1:${own}`)
      .replace(/proxy_read_timeout [^;]+;/, `proxy_read_timeout ${patience}s;`),
  );
  if (nginx === undefined) return;
  const { port } = nginx;
  const token = rig.secret("all");
  const header = `X-Nomad-Token: ${token}\r\n`;
  const logs = `/v1/client/fs/logs/${rig.allocation("silent")}?task=main&type=stdout&follow=true`;

  const framed = rawClient(port, get(logs, header));
  await framed.seen('"File"'); // the first bytes of an answer that does not end

  const plain = await rawRequest(port, get(`${logs}&plain=true&resume=true`, header));
  assert.deepEqual([plain.end === "whole", plain.body.toString()], [false, "one\n"]);
  await until(
    "three heartbeats, a second apart",
    () => framed.received().toString().split("{}").length > 3,
  );
  assert.equal(
    framed.socket.destroyed,
    false,
    "they keep it, where nginx has cut the plain one for its silence",
  );

  writeFileSync(
    path.join(rig.directory, "agent-1", "alloc", rig.allocation("silent"), "alloc/data/go"),
    "",
  );
  const resumed = rawClient(
    port,
    get(
      `${logs}&plain=true&resume=${plain.headers.get("x-serai-resume")}&skip=${plain.body.length}`,
      header,
    ),
  );
  await resumed.seen("two\n");
  assert.equal(parseAnswer(resumed.received()).body.toString(), "two\n");
  resumed.socket.destroy();

  const two = Buffer.from("two\n").toString("base64");
  await framed.seen(two);
  framed.socket.destroy();

  const exec = execClient({
    url: `http://127.0.0.1:${port}`,
    allocation: rig.allocation("silent"),
    task: "main",
    token,
    command: ["/bin/echo", "through nginx"],
    options: { localAddress: "127.0.0.2" },
  });
  await exec.opened;
  await exec.closed;
  assert.equal(exec.output("stdout").toString(), "through nginx\n");

  const audited = rig.audit().find(({ route }) => route === "alloc.exec");
  assert.equal(audited?.["address"], "127.0.0.2", "nginx says who asks");
});
