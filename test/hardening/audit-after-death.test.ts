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
}

interface Victim {
  readonly agent: Program;
  readonly id: string;
}

const script = "head -c 30000000 /dev/zero > $NOMAD_TASK_DIR/big; echo up; exec sleep 1000";

const join = async ({ home, gateway }: Scene, name: string): Promise<Victim> => {
  const agent = await home.agent(name, gateway.url, { workloads: [shellWorkload(name, script)] });
  const headers = { "x-nomad-token": home.secrets.operator };
  const id = await until("the workload runs and has its file", async () => {
    const list: unknown = await (await fetch(`${gateway.url}/v1/allocations`, { headers })).json();
    if (!Array.isArray(list)) return undefined;
    const mine = list.find(
      ({ JobID, ClientStatus }) => JobID === name && ClientStatus === "running",
    );
    if (mine === undefined) return undefined;
    const stat = await fetch(`${gateway.url}/v1/client/fs/stat/${mine.ID}?path=/main/local/big`, {
      headers,
    });
    return (await stat.text()).includes('"Size":30000000') ? String(mine.ID) : undefined;
  });
  return { agent, id };
};

const routesOpen = ["alloc.exec", "fs.logs", "fs.cat"];

/** The newest record of a route. */
const newest = (home: Home, route: string, audit: string, from: number): Line | undefined =>
  home
    .audit()
    .slice(from)
    .findLast((line) => line["route"] === route && line["audit"] === audit);

interface Busy {
  /** Records that stood there before. */
  readonly from: number;
  readonly leave: () => void;
}

/** An exec, a follow and a download that stands, all under way. */
const busy = async ({ home, gateway }: Scene, id: string): Promise<Busy> => {
  const from = home.audit().length;
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
    routesOpen.every((route) => newest(home, route, "start", from) !== undefined),
  );
  return {
    from,
    leave: () => {
      exec.socket.terminate();
      follow.socket.resetAndDestroy();
      download.socket.resetAndDestroy();
    },
  };
};

test("whoever dies in the middle, the audit log has its start and, while the gateway lives, its end", async (t) => {
  await using home = createHome();
  const gateway = await home.gateway();
  const scene = { home, gateway };
  const [first, second] = await Promise.all([join(scene, "n1"), join(scene, "n2")]);

  await t.test("the callers die: each has its end record", async () => {
    const { from, leave } = await busy(scene, first.id);
    leave();
    for (const route of routesOpen) {
      const end = await until(`${route} has ended`, () => newest(home, route, "end", from));
      assert.equal(end["code"], "client_closed", route);
      assert.equal(end["requestId"], newest(home, route, "start", from)?.["requestId"]);
    }
  });

  await t.test("the agent is killed: each has its end record that says so", async () => {
    const { from, leave } = await busy(scene, first.id);
    first.agent.kill("SIGKILL");
    for (const route of ["alloc.exec", "fs.logs"]) {
      const end = await until(`${route} has ended`, () => newest(home, route, "end", from));
      assert.match(String(end["code"]), /^(?:upstream_broke|node_unreachable)$/, route);
      assert.equal(end["result"], "failed");
    }
    leave();
    await until("the download has ended", () => newest(home, "fs.cat", "end", from));
  });

  await t.test(
    "the gateway is killed: every start record is whole and readable, who and what is in it",
    async () => {
      const { from, leave } = await busy(scene, second.id);
      gateway.kill("SIGKILL");
      await gateway.ended;
      leave();
      for (const route of routesOpen) {
        const begun = newest(home, route, "start", from);
        assert.ok(begun, route);
        assert.equal(begun["allocation"], second.id);
        assert.match(String(begun["accessor"]), /^[0-9a-f-]{36}$/);
        assert.equal(begun["address"], "127.0.0.1");
      }
      assert.deepEqual(newest(home, "alloc.exec", "start", from)?.["argv"], ["cat"]);
    },
  );
});
