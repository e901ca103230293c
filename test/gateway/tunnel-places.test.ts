/** Connectors and gateways in the plural: a gateway that goes down is left for another, and no two agents are mixed up. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import path from "node:path";
import { test } from "node:test";
import { request } from "undici";
import { type ClusterRig, secrets, startCluster } from "../support/cluster-rig.ts";
import { deadAddress } from "../support/faulty-agent.ts";
import {
  createHome,
  type GatewayProgram,
  type Home,
  type Program,
  shellWorkload,
  until,
} from "../support/processes.ts";

const headers = { "x-nomad-token": secrets.management };

/** Starts a connector with one agent a node. */
const startConnector = (
  home: Home,
  gateways: readonly string[],
  agents: readonly { readonly node_id: string; readonly address: string }[],
): Program => {
  const at = (name: string): string => path.join(home.directory, name);
  writeFileSync(at("join-token"), `${home.secrets.join}\n`, { mode: 0o600 });
  writeFileSync(at("connect.json"), JSON.stringify({ gateways, agents, drain: "200ms" }));
  return home.spawn(["connect", "--config", at("connect.json")], {
    env: { SERAI_CONNECT_JOIN_TOKEN_FILE: at("join-token") },
  });
};

const nomadSettings = (rig: ClusterRig) => ({
  registry: "nomad",
  nomad: { addresses: [rig.nomad.origin], token: secrets.gateway, through_servers: false },
  timeouts: { drain: "3s", drain_delay: "0s" },
});

const openTunnels = async ({ adminUrl }: { readonly adminUrl: string }): Promise<number> => {
  const { body } = await request(`${adminUrl}/metrics`);
  return Number(/^serai_tunnels\{state="open"\} (\d+)$/m.exec(await body.text())?.[1]);
};

test("a gateway that drains is left for another, which misses nothing, and what is live goes on until its end", async () => {
  await using home = createHome();
  const dead = await deadAddress();
  await using rig = await startCluster({
    workloads: [shellWorkload("web", "n=0; while sleep 0.05; do n=$((n+1)); echo line $n; done")],
    node: (node) => ({ ...node, address: dead }),
  });
  const start = (name: string): Promise<GatewayProgram> =>
    home.gateway({ ...nomadSettings(rig), data_dir: path.join(home.directory, name) });
  const [first, second] = await Promise.all([start("first"), start("second")]);
  const connector = startConnector(
    home,
    [first.url, second.url],
    [{ node_id: rig.agent.nodeId, address: rig.agent.address }],
  );
  await connector.logged("tunnel open");
  assert.equal(await openTunnels(first), 1);
  assert.equal(await openTunnels(second), 0);

  const { id } = rig.placement("web");
  await until("the first line", async () => {
    const { statusCode, body } = await request(
      `${first.url}/v1/client/fs/cat/${id}?path=alloc/logs/main.stdout.0`,
      { headers },
    );
    return statusCode === 200 && (await body.text()).includes("line 1\n");
  });
  const follow = await request(
    `${first.url}/v1/client/fs/logs/${id}?task=main&type=stdout&follow=true&plain=true`,
    { headers },
  );
  let text = "";
  follow.body.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
  });
  const cut = new Promise<unknown>((resolve) => follow.body.once("error", resolve));
  const lastLine = (): number => Number(/line (\d+)\n$/.exec(text)?.[1] ?? 0);
  await until("it follows", () => lastLine() > 0);

  first.kill("SIGTERM");
  await until("the second has the tunnel", async () => (await openTunnels(second)) === 1);
  const seenAtSwitch = lastLine();
  await until("the follow through the first goes on", () => lastLine() > seenAtSwitch + 5);
  let isEnded = false;
  void first.ended.then(() => {
    isEnded = true;
  });
  const list = `${second.url}/v1/client/fs/ls/${id}?path=/alloc/logs`;
  const answers: string[] = [];
  while (!isEnded) {
    const { statusCode, body } = await request(list, { headers });
    answers.push(`${statusCode} ${(await body.text()).includes("main.stdout.0")}`);
  }
  assert.ok(await cut, "cut at the end of the drain, not ended");
  assert.deepEqual(await first.ended, { code: 0, signal: null });
  assert.ok(answers.length > 3, String(answers.length));
  assert.deepEqual([...new Set(answers)], ["200 true"]);
  const order = connector.output.filter((line) => /"msg":"tunnel (?:open|ended)"/.test(line));
  assert.deepEqual(
    order
      .slice(0, 2)
      .map((line) => [/"gateway":"([^"]+)"/.exec(line)?.[1], /"msg":"([^"]+)"/.exec(line)?.[1]]),
    [
      [first.url, "tunnel open"],
      [second.url, "tunnel open"],
    ],
    "the second was dialled before the first was let go",
  );
});

/** As little of an agent as it takes to say which one it is. */
const startNamed = async (
  name: string,
): Promise<{ readonly address: string; readonly server: Server }> => {
  const server = createServer((_request, response) => response.end(name));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const at = server.address();
  assert.ok(at !== null && typeof at === "object");
  return { address: `127.0.0.1:${at.port}`, server };
};

test("one connector in front of two agents never swaps them, and one that is away is 502 alone", async () => {
  await using stack = new AsyncDisposableStack();
  const home = stack.use(createHome());
  const dead = await deadAddress();
  const ids = [randomUUID(), randomUUID()] as const;
  const agents = await Promise.all(ids.map((_, at) => startNamed(`agent ${at}`)));
  const stop = async ({ server }: { readonly server: Server }): Promise<void> => {
    server.closeAllConnections();
    server.close();
    if (server.listening) await once(server, "close");
  };
  stack.defer(async () => {
    await Promise.all(agents.map(stop));
  });
  const rig = stack.use(
    await startCluster({
      workloads: [],
      settings: {
        nomad: { through_servers: false },
        acl: { join_tokens_file: path.join(home.directory, "join.yaml") },
      },
      prepare: (nomad) => {
        for (const [at, id] of ids.entries())
          nomad.knowNode({ id, name: `client-${at}`, status: "ready", address: dead, tls: false });
      },
    }),
  );
  startConnector(
    home,
    [rig.url],
    ids.map((id, at) => ({ node_id: id, address: agents[at]?.address ?? "" })),
  );
  await until("both tunnels", async () => (await openTunnels(rig.gateway)) === 2);

  const ask = async (at: number): Promise<string> => {
    const { status, text } = await rig.ask({
      path: `/v1/client/stats?node_id=${ids[at]}`,
      token: "management",
    });
    return status === 200 ? text : String(status);
  };
  const askBoth = (count: number): Promise<readonly string[]> =>
    Promise.all(Array.from({ length: count }, (_, nth) => ask(nth % 2)));
  const told = await askBoth(60);
  assert.deepEqual(
    told,
    Array.from({ length: 60 }, (_, nth) => `agent ${nth % 2}`),
  );

  const [gone] = agents;
  assert.ok(gone);
  await stop(gone);
  await until("the first is away", async () => (await ask(0)) === "502");
  assert.deepEqual(
    await askBoth(10),
    Array.from({ length: 10 }, (_, nth) => (nth % 2 === 0 ? "502" : "agent 1")),
  );
});
