/** What happens to a cluster, and what serai's callers notice of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Dispatcher, Agent as HttpAgent, request } from "undici";
import { isJsonObject } from "../../src/lib/json.ts";
import { freePort } from "../support/free-port.ts";
import { type NomadCluster, noNomad, startNomad } from "../support/nomad-cluster.ts";
import { talker } from "../support/nomad-jobs.ts";
import { until } from "../support/processes.ts";
import { execClient } from "../support/ws-client.ts";
import { type Serai, startSerai } from "./serai.ts";

const options = { skip: noNomad, timeout: 200_000 } as const;

interface Answer {
  readonly status: number;
  readonly text: string;
}

const askWith =
  (serai: Serai, token: string) =>
  async (
    target: string,
    { method = "GET", body }: { method?: Dispatcher.HttpMethod; body?: object | Buffer } = {},
  ): Promise<Answer> => {
    const sent = body === undefined || Buffer.isBuffer(body) ? body : JSON.stringify(body);
    const answer = await request(`${serai.url}${target}`, {
      method,
      headers: { "x-nomad-token": token },
      body: sent ?? null,
    });
    return { status: answer.statusCode, text: await answer.body.text() };
  };

type Ask = ReturnType<typeof askWith>;

const listing = (id: string): string => `/v1/client/fs/ls/${id}?path=/alloc/data`;
const logOf = (id: string): string =>
  `/v1/client/fs/logs/${id}?task=talk&type=stdout&follow=true&plain=true`;

const statusOf = async (ask: Ask, id: string): Promise<number> => (await ask(listing(id))).status;

const becomes = (ask: Ask, id: string, status: number): Promise<true> => {
  let seen: Answer | undefined;
  return until(
    () => `the listing of ${id} is ${status}: ${seen?.status} ${seen?.text.slice(0, 200)}`,
    async () => {
      seen = await ask(listing(id));
      return seen.status === status || undefined;
    },
    20_000,
  );
};

/** A log that is followed: how much has come, and whether it goes on. */
const follow = async (serai: Serai, token: string, id: string, dispatcher?: Dispatcher) => {
  const answer = await request(`${serai.url}${logOf(id)}`, {
    headers: { "x-nomad-token": token },
    ...(dispatcher === undefined ? {} : { dispatcher }),
  });
  let bytes = 0;
  answer.body
    .on("error", () => undefined)
    .on("data", (chunk: Buffer) => {
      bytes += chunk.length;
    });
  const more = async (): Promise<void> => {
    const before = bytes;
    await until("the followed log goes on", () => bytes > before || undefined);
  };
  return {
    status: answer.statusCode,
    retryAfter: answer.headers["retry-after"],
    isOver: () => answer.body.destroyed || answer.body.readableEnded,
    more,
    end: () => void answer.body.destroy(),
  };
};

const first = (ids: readonly { readonly id: string; readonly nodeId: string }[]) => {
  const [one] = ids;
  assert.ok(one);
  return one;
};

const originsOf = ({ servers }: NomadCluster): readonly string[] =>
  servers.map(({ origin }) => origin);

test(
  "a leader that goes is replaced: reads and writes work again, what is open to an agent goes on",
  options,
  async () => {
    await using nomad = await startNomad({ servers: 3 });
    const { id } = first((await nomad.run(talker({ id: "web" }))).allocations);
    const raft = (await nomad.ask("/v1/operator/raft/configuration")).document;
    const peers = isJsonObject(raft) && Array.isArray(raft["Servers"]) ? raft["Servers"] : [];
    const name = peers.find((peer) => isJsonObject(peer) && peer["Leader"] === true);
    const leader = nomad.servers.find(
      (server) => isJsonObject(name) && name["Node"] === `${server.name}.global`,
    );
    assert.ok(leader);
    const others = originsOf(nomad).filter((origin) => origin !== leader.origin);
    await using serai = await startSerai(nomad, [leader.origin, ...others]);
    const ask = askWith(serai, nomad.token);
    const log = await follow(serai, nomad.token, id);
    assert.equal(log.status, 200);
    const shell = execClient({
      url: serai.url,
      allocation: id,
      token: nomad.token,
      task: "talk",
      command: ["/bin/cat"],
    });
    await shell.opened;
    shell.stdin("before\n");
    await shell.seen("before\n");

    await leader.stop("SIGKILL");
    await log.more();
    shell.stdin("during\n");
    await shell.seen("during\n");
    const began = performance.now();
    await until("reads work", async () => (await ask("/v1/jobs")).status === 200 || undefined);
    await until(
      "writes work",
      async () => {
        const body = { Name: "after", Description: "made after the leader went" };
        return (
          (await ask("/v1/namespace/after", { method: "PUT", body })).status === 200 || undefined
        );
      },
      30_000,
    );
    const failoverMs = performance.now() - began;
    assert.ok(failoverMs < 30_000, `${failoverMs} ms`);
    const later = first((await nomad.run(talker({ id: "later" }))).allocations);
    await becomes(ask, later.id, 200);
    await log.more();
    assert.ok(!log.isOver());
    shell.stdin("after\n");
    await shell.seen("after\n");
    shell.closeStdin();
    assert.deepEqual(await shell.closed, { code: 1000, reason: "" });
    log.end();
  },
);

test(
  "a snapshot restored: what the servers know again is reached, what they no longer know is 404",
  options,
  async () => {
    await using nomad = await startNomad({ servers: 1 });
    await using serai = await startSerai(nomad, originsOf(nomad));
    const ask = askWith(serai, nomad.token);
    const kept = first((await nomad.run(talker({ id: "kept" }))).allocations);
    await becomes(ask, kept.id, 200);
    const saved = await request(`${serai.url}/v1/operator/snapshot`, {
      headers: { "x-nomad-token": nomad.token },
    });
    assert.equal(saved.statusCode, 200);
    const snapshot = Buffer.from(await saved.body.arrayBuffer());
    const forgotten = first((await nomad.run(talker({ id: "forgotten" }))).allocations);
    for (let at = 0; at < 20; at += 1)
      await nomad.ask(`/v1/namespace/n${at}`, { method: "PUT", body: { Name: `n${at}` } });
    await becomes(ask, forgotten.id, 200);
    const restored = await ask("/v1/operator/snapshot", { method: "PUT", body: snapshot });
    assert.equal(restored.status, 200, restored.text);
    await becomes(ask, forgotten.id, 404);
    assert.equal(await statusOf(ask, kept.id), 200);
    const fresh = first((await nomad.run(talker({ id: "fresh" }))).allocations);
    await becomes(ask, fresh.id, 200);
    assert.equal(await serai.isReady(), true);
  },
);

test(
  "a cluster whose doors ask for certificates: servers and agents are reached, strangers' authorities are not",
  options,
  async () => {
    await using nomad = await startNomad({ servers: 1, tls: true });
    const { certificates } = nomad;
    assert.ok(certificates);
    const own = {
      ca_file: certificates.caFile,
      cert_file: certificates.certFile("caller"),
      key_file: certificates.keyFile("caller"),
    };
    await using serai = await startSerai(nomad, originsOf(nomad), { nomad: own, reach: own });
    const ask = askWith(serai, nomad.token);
    const { id, nodeId } = first((await nomad.run(talker({ id: "web" }))).allocations);
    await becomes(ask, id, 200);
    assert.equal((await ask("/v1/jobs")).status, 200);
    assert.equal((await ask(`/v1/client/stats?node_id=${nodeId}`)).status, 200);
    const shell = execClient({
      url: serai.url,
      allocation: id,
      token: nomad.token,
      task: "talk",
      command: ["/bin/sh", "-c", "echo safe; exit 3"],
    });
    await shell.opened;
    shell.closeStdin();
    await shell.closed;
    assert.equal(`${shell.output("stdout")}${shell.exitCode()}`, "safe\n3");
    const node = await ask(`/v1/node/${nodeId}`);
    assert.match(node.text, /"TLSEnabled":false/); // as the caller reaches serai
    assert.ok(node.text.includes(`"HTTPAddr":"127.0.0.1:${serai.port}"`));
  },
);

test(
  "an agent that starts again on another port is followed there; what is collected is 404",
  options,
  async () => {
    await using nomad = await startNomad({ servers: 1 });
    await using serai = await startSerai(nomad, originsOf(nomad));
    const ask = askWith(serai, nomad.token);
    const { id } = first((await nomad.run(talker({ id: "web", on: "client-1" }))).allocations);
    await becomes(ask, id, 200);
    const client = nomad.clients.find(({ name }) => name === "client-1");
    assert.ok(client);
    await client.stop();
    const away = await ask(listing(id));
    assert.ok([404, 502, 503].includes(away.status), `${away.status} ${away.text}`);
    await client.start(await freePort());
    await becomes(ask, id, 200);
    const stopped = await nomad.ask("/v1/job/web", { method: "DELETE" });
    assert.equal(stopped.status, 200);
    await until(
      "it has ended",
      async () =>
        (await nomad.ask(`/v1/allocation/${id}`)).text.includes('"ClientStatus":"complete"') ||
        undefined,
    );
    assert.equal((await nomad.ask("/v1/system/gc", { method: "PUT" })).status, 200);
    await until(
      "the servers have forgotten it",
      async () => (await nomad.ask(`/v1/allocation/${id}`)).status === 404 || undefined,
    );
    await becomes(ask, id, 404);
  },
);

test(
  "150 followed logs of one node whose agent admits 100: each is whole or refused in one piece",
  options,
  async () => {
    await using nomad = await startNomad({ servers: 1, clients: 1 });
    await using serai = await startSerai(nomad, originsOf(nomad));
    const ask = askWith(serai, nomad.token);
    const { id } = first((await nomad.run(talker({ id: "web" }))).allocations);
    await becomes(ask, id, 200);
    await using dispatcher = {
      client: new HttpAgent({ connections: 200 }),
      async [Symbol.asyncDispose]() {
        await this.client.destroy();
      },
    };
    const logs = await Promise.all(
      Array.from({ length: 150 }, () => follow(serai, nomad.token, id, dispatcher.client)),
    );
    const open = logs.filter(({ status }) => status === 200);
    const refused = logs.filter(({ status }) => status !== 200);
    for (const { status, retryAfter } of refused) {
      assert.ok(status === 503 || status === 429, String(status));
      assert.ok(retryAfter !== undefined);
    }
    assert.ok(open.length >= 40, `${open.length} of 150 were open`);
    await Promise.all(open.map(({ more }) => more()));
    assert.ok(open.every(({ isOver }) => !isOver()));
    for (const { end } of logs) end();
    await becomes(ask, id, 200);
  },
);
