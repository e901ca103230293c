/** Whoever dies in the middle, the audit log says who did what: a start always, an end when somebody is left to write it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  createHome,
  type GatewayProgram,
  type Home,
  type Line,
  type Program,
  shellWorkload,
  until,
} from "../support/processes.ts";
import { get, rawClient } from "../support/raw-client.ts";
import { execClient } from "../support/ws-client.ts";

interface Scene {
  readonly home: Home;
  readonly gateway: GatewayProgram;
  readonly agent: Program;
  readonly id: string;
}

const open = async (home: Home): Promise<Scene> => {
  const gateway = await home.gateway();
  const agent = await home.agent("n1", gateway.url, {
    workloads: [
      shellWorkload(
        "j",
        "head -c 30000000 /dev/zero > $NOMAD_TASK_DIR/big; echo up; exec sleep 1000",
      ),
    ],
  });
  const headers = { "x-nomad-token": home.secrets.operator };
  const id = await until("the workload runs and has its file", async () => {
    const list: unknown = await (await fetch(`${gateway.url}/v1/allocations`, { headers })).json();
    if (!Array.isArray(list) || list[0]?.ClientStatus !== "running") return undefined;
    const found = String(list[0].ID);
    const stat = await fetch(`${gateway.url}/v1/client/fs/stat/${found}?path=/main/local/big`, {
      headers,
    });
    return (await stat.text()).includes('"Size":30000000') ? found : undefined;
  });
  return { home, gateway, agent, id };
};

const routesOpen = ["alloc.exec", "fs.logs", "fs.cat"];

/** An exec, a follow and a download that stands, all under way. */
const busy = async ({ home, gateway, id }: Scene): Promise<() => void> => {
  const token = home.secrets.operator;
  const header = `X-Nomad-Token: ${token}\r\n`;
  const exec = execClient({
    url: gateway.url,
    allocation: id,
    task: "main",
    token,
    command: ["cat"],
  });
  await exec.opened;
  const follow = rawClient(
    gateway.port,
    get(`/v1/client/fs/logs/${id}?task=main&type=stdout&follow=true`, header),
  );
  await follow.seen("200 OK");
  const download = rawClient(
    gateway.port,
    get(`/v1/client/fs/cat/${id}?path=/main/local/big`, header),
  );
  await download.seen("200 OK");
  download.socket.pause();
  await until("all three have begun in the audit log", () =>
    routesOpen.every((route) => records(home, route, "start").length > 0),
  );
  return () => {
    exec.socket.terminate();
    follow.socket.resetAndDestroy();
    download.socket.resetAndDestroy();
  };
};

const records = (home: Home, route: string, audit: string): readonly Line[] =>
  home.audit().filter((line) => line["route"] === route && line["audit"] === audit);

test("the callers die: each has its end record", async () => {
  await using home = createHome();
  const scene = await open(home);
  (await busy(scene))();
  for (const route of routesOpen) {
    const end = await until(`${route} has ended`, () => records(home, route, "end")[0]);
    assert.equal(end["code"], "client_closed", route);
    assert.equal(end["requestId"], records(home, route, "start")[0]?.["requestId"]);
  }
});

test("the agent is killed: each has its end record that says so", async () => {
  await using home = createHome();
  const scene = await open(home);
  const leave = await busy(scene);
  scene.agent.kill("SIGKILL");
  for (const route of ["alloc.exec", "fs.logs"]) {
    const end = await until(`${route} has ended`, () => records(home, route, "end")[0]);
    assert.match(String(end["code"]), /^(?:upstream_broke|node_unreachable)$/, route);
    assert.equal(end["result"], "failed");
  }
  leave();
  await until("the download has ended", () => records(home, "fs.cat", "end")[0]);
});

test("the gateway is killed: every start record is whole and readable, who and what is in it", async () => {
  await using home = createHome();
  const scene = await open(home);
  const leave = await busy(scene);
  scene.gateway.kill("SIGKILL");
  await scene.gateway.ended;
  leave();
  for (const route of routesOpen) {
    const [start] = records(home, route, "start");
    assert.ok(start, route);
    assert.equal(start["allocation"], scene.id);
    assert.match(String(start["accessor"]), /^[0-9a-f-]{36}$/);
    assert.equal(start["address"], "127.0.0.1");
  }
  assert.deepEqual(records(home, "alloc.exec", "start")[0]?.["argv"], ["cat"]);
});
