/** In front of a cluster whose agents admit nobody: connectors beside them dial out, and tunnels come before all other ways. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { createServer as createTlsServer } from "node:tls";
import { request } from "undici";
import { createCertificates } from "../support/certificates.ts";
import { type ClusterRig, secrets, startCluster } from "../support/cluster-rig.ts";
import { deadAddress } from "../support/faulty-agent.ts";
import { createHome, type Home, type Program, shellWorkload } from "../support/processes.ts";
import { type RelayServer, relayServer } from "../support/relay-server.ts";
import { eventually } from "../support/rig.ts";
import { type Door, openDoor, pemFile, tlsDoor } from "../support/tls-door.ts";
import { execClient } from "../support/ws-client.ts";

interface Firewalled extends AsyncDisposable {
  readonly rig: ClusterRig;
  readonly relay: RelayServer;
  readonly web: string;
  /** Starts a connector in front of an address; resolves when its tunnel is open. */
  connect(address: string, drain?: string): Promise<Program>;
}

/** A cluster whose agent's own address takes no connection, and a server that hands on to it. */
const startFirewalled = async (tls = false): Promise<Firewalled> => {
  await using stack = new AsyncDisposableStack();
  const home: Home = stack.use(createHome());
  const address = await deadAddress();
  let relay: RelayServer | undefined;
  const rig = stack.use(
    await startCluster({
      workloads: [shellWorkload("web", "echo first; sleep 1000")],
      node: (node) => ({ ...node, address, tls }),
      settings: {
        acl: { join_tokens_file: path.join(home.directory, "join.yaml") },
        reach: {
          ca_file: pemFile("cert.pem"),
          cert_file: pemFile("cert.pem"),
          key_file: pemFile("key.pem"),
        },
      },
      servers: async (nomad, agent) => {
        relay = await relayServer(nomad.origin, agent);
        return relay;
      },
    }),
  );
  assert.ok(relay);
  await eventually("ready", async () => (await rig.readiness()) === 200 || undefined);
  await eventually("the task runs", () =>
    rig.agent.workloads.allocations.every(({ tasks }) => tasks.every(({ pid }) => pid)),
  );
  const joinFile = path.join(home.directory, "join-token");
  writeFileSync(joinFile, `${home.secrets.join}\n`, { mode: 0o600 });
  const running = stack.move();
  return {
    rig,
    relay,
    web: rig.placement("web").id,
    connect: async (agent, drain = "200ms") => {
      const file = path.join(home.directory, "connect.json");
      const settings = {
        gateways: [rig.url],
        agents: [{ node_id: rig.agent.nodeId, address: agent }],
        drain,
      };
      writeFileSync(file, JSON.stringify(settings));
      const connector = home.spawn(["connect", "--config", file], {
        env: { SERAI_CONNECT_JOIN_TOKEN_FILE: joinFile },
      });
      await connector.logged("tunnel open");
      return connector;
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
};

/** Status, text and the way that was taken. */
const ask = async (
  { rig }: Firewalled,
  target: string,
): Promise<readonly [status: number, text: string, reach: unknown]> => {
  const { statusCode, body, headers } = await request(`${rig.url}${target}`, {
    headers: { "x-nomad-token": secrets.reader },
  });
  return [statusCode, await body.text(), headers["x-serai-reach"]];
};

const listPath = (id: string): string => `/v1/client/fs/ls/${id}?path=/alloc/logs`;
const logPath = (id: string): string =>
  `/v1/client/fs/logs/${id}?task=main&type=stdout&follow=true&plain=true`;

const exec = ({ rig, web: allocation }: Firewalled) =>
  execClient({
    url: rig.url,
    allocation,
    token: secrets.reader,
    task: "main",
    command: ["/bin/sh", "-c", "read word; echo went $word; exit 3"],
  });

/** A list, a file, a followed log and a command, none of them through a server. */
const allKinds = async (cluster: Firewalled): Promise<void> => {
  const { rig, relay, web } = cluster;
  const before = relay.relayed.length;
  const [status, text, reach] = await ask(cluster, listPath(web));
  assert.deepEqual([status, reach], [200, undefined], text);
  assert.match(text, /"Name":"main\.stdout\.0"/);
  const [, file] = await ask(cluster, `/v1/client/fs/cat/${web}?path=alloc/logs/main.stdout.0`);
  assert.equal(file, "first\n");
  const log = await rig.follow(logPath(web), "reader");
  assert.equal(await log.until("first\n"), "first\n");
  log.end();
  const command = exec(cluster);
  await command.opened;
  command.stdin("there\n");
  await command.seen("went there");
  assert.equal((await command.closed).code, 1000);
  assert.equal(command.exitCode(), 3);
  assert.equal(relay.relayed.length, before, "nothing went through a server");
};

describe("a Nomad agent behind a firewall", () => {
  let cluster: Firewalled;
  let connector: Program;
  before(async () => {
    cluster = await startFirewalled();
  });
  after(async () => {
    await cluster[Symbol.asyncDispose]();
  });

  test("is reached through a server as long as nothing dials out", async () => {
    for (let count = 0; count < 4; count++) {
      const [status, , reach] = await ask(cluster, listPath(cluster.web));
      assert.equal(status, 200);
      assert.match(String(reach), /^servers; reason=(?:refused|circuit)$/);
    }
  });

  test("is reached through the tunnel as soon as a connector has dialled out", async () => {
    connector = await cluster.connect(cluster.rig.agent.address);
    await allKinds(cluster);
  });

  test("is reached through a server again when the connector has ended, and what was live is cut", async () => {
    const log = await cluster.rig.follow(logPath(cluster.web), "reader");
    await log.until("first\n");
    connector.kill("SIGTERM");
    assert.deepEqual(await connector.ended, { code: 0, signal: null });
    await assert.rejects(log.until("never"), /ended before/);
    const [status, text, reach] = await ask(cluster, listPath(cluster.web));
    assert.equal(status, 200, text);
    assert.match(String(reach), /^servers; /);
    assert.deepEqual(connector.errors, []);
    assert.ok(!connector.output.join("").includes(secrets.reader));
  });

  test("lets its connector go at once when nothing is live, and what is live end first", async () => {
    const idle = await cluster.connect(cluster.rig.agent.address, "60s");
    await allKinds(cluster);
    idle.kill("SIGTERM");
    const patience = AbortSignal.timeout(20_000);
    const tooLong = once(patience, "abort").then(() => "still there");
    assert.deepEqual(await Promise.race([idle.ended, tooLong]), { code: 0, signal: null });

    const busy = await cluster.connect(cluster.rig.agent.address, "60s");
    const command = exec(cluster);
    await command.opened;
    busy.kill("SIGTERM");
    await eventually("the next go another way, and none fails", async () => {
      const [status, , reach] = await ask(cluster, listPath(cluster.web));
      assert.equal(status, 200);
      return String(reach).startsWith("servers; ") || undefined;
    });
    command.stdin("on\n");
    await command.seen("went on");
    assert.equal((await command.closed).code, 1000);
    assert.deepEqual(await Promise.race([busy.ended, tooLong]), { code: 0, signal: null });
  });

  test("is reached through a server when its connector finds no agent", async () => {
    const blind = await cluster.connect(await deadAddress());
    const [status, text, reach] = await ask(cluster, listPath(cluster.web));
    assert.equal(status, 200, text);
    assert.match(String(reach), /^servers; /);
    await blind.logged("the agent gives no connection");
  });
});

test("a Nomad agent with TLS is asked through the tunnel under its region's name", async () => {
  await using cluster = await startFirewalled(true);
  await using served = await tlsDoor(cluster.rig.agent.address);
  await cluster.connect(served.address);
  await allKinds(cluster);
  assert.ok(served.taken() > 0);
});

/** An agent as the cluster's look, whose certificate another authority has made. */
const startImpostor = (heard: string[]): Promise<Door> => {
  using certificates = createCertificates();
  const { make, pair, cert } = certificates;
  make("foreign", { authority: true });
  make("agent", { by: "foreign", names: ["DNS:client.global.nomad"], purpose: "serverAuth" });
  const server = createTlsServer({ ...pair("agent"), ca: cert("foreign") }, (caller) => {
    caller.on("error", () => undefined);
    caller.on("data", (chunk: Buffer) => heard.push(chunk.toString("latin1")));
  });
  server.on("tlsClientError", () => undefined);
  return openDoor(server);
};

test("what is no agent of the cluster gets no request, though a tunnel leads there", async () => {
  await using cluster = await startFirewalled(true);
  const heard: string[] = [];
  await using impostor = await startImpostor(heard);
  for (const address of [impostor.address, cluster.rig.agent.address]) {
    const connector = await cluster.connect(address);
    const [status, text, reach] = await ask(cluster, listPath(cluster.web));
    assert.equal(status, 200, text);
    assert.match(String(reach), /^servers; /);
    const report = await request(
      `${cluster.rig.url}/v1/serai/nodes/${cluster.rig.agent.nodeId}/reach`,
      { headers: { "x-nomad-token": secrets.management } },
    );
    assert.match(await report.body.text(), /"Way":"tunnel",[^}]*\{[^}]*"Step":"TLS"/);
    connector.kill("SIGTERM");
    await connector.ended;
  }
  assert.ok(impostor.taken() > 0, "the tunnel led there");
  assert.deepEqual(heard, [], "nothing was said to it");
});
