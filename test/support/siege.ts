/** Sieges of a gateway process: each leaves the same process, serving, with nothing of the siege left. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { WebSocket } from "ws";
import { hostileBytes, seeded, sendAndTear, times, upgradeBytes } from "./hostile.ts";
import { probe, probed } from "./probe.ts";
import {
  createHome,
  type GatewayProgram,
  type Home,
  type Program,
  shellWorkload,
  until,
} from "./processes.ts";
import { get, rawClient } from "./raw-client.ts";

export interface Besieged extends AsyncDisposable {
  readonly home: Home;
  readonly gateway: GatewayProgram;
  readonly agent: Program;
  readonly allocation: string;
  readonly token: string;
}

const script =
  "head -c 30000000 /dev/zero > $NOMAD_TASK_DIR/big; echo started; while :; do echo tick; sleep 0.1; done";

/** A gateway and an agent with one workload that has a large file and a log that grows. */
export const besieged = async (
  settings: object = {},
  agentSettings: object = {},
): Promise<Besieged> => {
  const home = createHome();
  try {
    const node = probed(home.directory);
    const gateway = await home.gateway(
      { log: { lines_per_second: 10 }, audit: { output: "/dev/null" }, ...settings },
      { node },
    );
    const agent = await home.agent(
      "n1",
      gateway.url,
      { workloads: [shellWorkload("j1", script)], ...agentSettings },
      { node },
    );
    const token = home.secrets.operator;
    const headers = { "x-nomad-token": token };
    let seen = "";
    const story = (): string =>
      [`the workload runs; seen: ${seen}`, ...gateway.output.slice(-5), ...agent.output].join("\n");
    const allocation = await until(story, async () => {
      const list: unknown = await (
        await fetch(`${gateway.url}/v1/allocations`, { headers })
      ).json();
      assert.ok(Array.isArray(list));
      seen = JSON.stringify(list).slice(0, 300);
      if (list[0]?.ClientStatus !== "running") return undefined;
      const id = String(list[0].ID);
      const target = `/v1/client/fs/stat/${id}?path=/main/local/big`;
      const stat = await (await fetch(`${gateway.url}${target}`, { headers })).text();
      seen = stat;
      return stat.includes('"Size":30000000') ? id : undefined;
    });
    return {
      home,
      gateway,
      agent,
      allocation,
      token,
      [Symbol.asyncDispose]: () => home[Symbol.asyncDispose](),
    };
  } catch (error) {
    await home[Symbol.asyncDispose]();
    throw error;
  }
};

export const figures = async ({
  adminUrl,
}: GatewayProgram): Promise<ReadonlyMap<string, number>> => {
  const text = await (await fetch(`${adminUrl}/metrics`)).text();
  return new Map(
    text
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("#"))
      .map((line) => {
        const at = line.lastIndexOf(" ");
        return [line.slice(0, at), Number(line.slice(at + 1))];
      }),
  );
};

/** MiB that the gateway holds after a collection: what is not garbage. */
export const heldMib = async (gateway: GatewayProgram): Promise<number> =>
  (await probe(gateway)).heldMib;

const quiet = [
  'serai_streams_active{kind="follow"}',
  'serai_streams_active{kind="download"}',
  'serai_streams_active{kind="exec"}',
  "serai_live_exchanges",
  "serai_pool_waiting",
  "serai_blocking_queries",
] as const;

/** The same process serves, and nothing of what was done to it is left. */
export const unhurt = async (scene: Besieged): Promise<void> => {
  const { gateway, allocation, token, agent } = scene;
  for (const { child, errors } of [gateway, agent]) {
    assert.equal(child.exitCode, null, errors.join("\n"));
    assert.equal(child.signalCode, null);
  }
  let left: readonly string[] = [];
  await until(
    () => `nothing is left, but ${left.join(", ")}`,
    async () => {
      const now = await figures(gateway);
      const flying = [...now.keys()].filter((name) =>
        name.startsWith("serai_http_requests_in_flight"),
      );
      left = [...quiet, ...flying].filter((name) => now.get(name) !== 0);
      return left.length === 0 && (now.get("serai_open_sockets") ?? 99) <= 8;
    },
  );
  const reply = await fetch(`${gateway.url}/v1/client/allocation/${allocation}/stats`, {
    headers: { "x-nomad-token": token },
  });
  assert.equal(reply.status, 200, await reply.text());
  for (const { output } of [gateway, agent])
    assert.deepEqual(
      output.filter((line) => line.includes('"level":"error"')),
      [],
      "no error is logged",
    );
};

export const randomRequests = async (
  scene: Besieged,
  seed: number,
  count: number,
): Promise<void> => {
  const { gateway, allocation, token } = scene;
  const random = seeded(seed);
  await times(count, 32, () =>
    sendAndTear(gateway.port, hostileBytes(random, allocation, token), 150, true),
  );
};

export const tornUpgrades = async (scene: Besieged, seed: number, count: number): Promise<void> => {
  const { gateway, allocation, token } = scene;
  const random = seeded(seed);
  await times(count, 32, () =>
    sendAndTear(gateway.port, upgradeBytes(allocation, token), random() * 200, false),
  );
};

/** Pids of processes whose command line has this word. */
export const running = (word: string): readonly string[] =>
  readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").includes(word);
      } catch {
        return false; // gone meanwhile
      }
    });

/** Callers that leave in the middle of a follow, a download and an exec, in turn. */
export const lostCallers = async (scene: Besieged, count: number, word: string): Promise<void> => {
  const { gateway, allocation, token } = scene;
  const line = `X-Nomad-Token: ${token}\r\n`;
  const leaveBody = async (target: string): Promise<void> => {
    const client = rawClient(gateway.port, get(target, line));
    await client.seen("200 OK");
    client.socket.resetAndDestroy();
    await once(client.socket, "close");
  };
  const leaveExec = async (): Promise<void> => {
    const socket = new WebSocket(
      `${gateway.url.replace("http", "ws")}/v1/client/allocation/${allocation}/exec?task=main&command=${encodeURIComponent(JSON.stringify(["sh", "-c", "echo up; sleep 1000", word]))}`,
      { headers: { "x-nomad-token": token } },
    );
    socket.on("error", () => undefined);
    await once(socket, "message");
    socket.terminate();
    await once(socket, "close");
  };
  const ways = [
    () => leaveBody(`/v1/client/fs/logs/${allocation}?task=main&type=stdout&follow=true`),
    () => leaveBody(`/v1/client/fs/cat/${allocation}?path=/main/local/big`),
    leaveExec,
  ];
  await times(count, 8, async (nth) => ways[nth % ways.length]?.());
};
