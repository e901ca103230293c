/** Real agents with TLS that cannot be dialled are asked through a real server: all that is carried, with the same answers. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { request } from "undici";
import { makeCertificates } from "../support/nomad-certificates.ts";
import { type NomadCluster, noNomad, startNomad } from "../support/nomad-cluster.ts";
import { talker } from "../support/nomad-jobs.ts";
import { createHome, type GatewayProgram, type Home, until } from "../support/processes.ts";
import { execClient, rawUpgrade } from "../support/ws-client.ts";

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    return text; // a file
  }
};

/** As the cluster's operator would give them. */
const settingsOf = ({ certificates, servers, token }: NomadCluster) => {
  const tls = {
    ca_file: certificates?.caFile,
    cert_file: certificates?.certFile("caller"),
    key_file: certificates?.keyFile("caller"),
  };
  return {
    registry: "nomad",
    nomad: { addresses: [servers[0]?.origin], token, ...tls },
    reach: { allow: ["127.0.0.0/8"], ...tls },
  };
};

const patient = { timeout: 20_000 };

describe("in front of a real cluster", { skip: noNomad, timeout: 120_000 }, () => {
  let nomad: NomadCluster;
  let home: Home;
  /** Its agents are reached directly, and only through the servers. */
  let direct: GatewayProgram;
  let around: GatewayProgram;
  /** Of an authority that signed nothing of the cluster's. */
  let strangeCa = "";
  let allocation = "";
  let nodeId = "";
  const stack = new AsyncDisposableStack();

  before(async () => {
    nomad = stack.use(await startNomad({ servers: 1, clients: 1, tls: true }));
    home = stack.use(createHome());
    const job = await nomad.run(talker({ id: "talk", on: nomad.clients[0]?.name ?? "" }));
    allocation = job.allocations[0]?.id ?? "";
    nodeId = job.allocations[0]?.nodeId ?? "";
    const settings = settingsOf(nomad);
    strangeCa = makeCertificates(home.directory).caFile;
    direct = await home.gateway({ ...settings, data_dir: `${home.directory}/direct` });
    around = await home.gateway({
      ...settings,
      data_dir: `${home.directory}/around`,
      reach: { ...settings.reach, deny: ["127.0.0.0/8"] },
    });
    for (const { adminUrl } of [direct, around])
      await until("ready", async () => (await fetch(`${adminUrl}/readyz`)).ok);
  });
  after(async () => {
    await stack.disposeAsync();
  });

  const ask = async (at: GatewayProgram, path: string, method: "GET" | "PUT" | "POST" = "GET") => {
    const headers = { "x-nomad-token": nomad.token };
    const answer = await request(`${at.url}${path}`, { method, headers });
    const text = await answer.body.text();
    return { status: answer.statusCode, text, reach: answer.headers["x-serai-reach"] };
  };

  test("files, stats, metadata and refusals read the same either way", patient, async () => {
    for (const path of [
      `/v1/client/fs/stat/${allocation}?path=alloc/data/hello.txt`,
      `/v1/client/fs/cat/${allocation}?path=alloc/data/hello.txt`,
      `/v1/client/fs/readat/${allocation}?path=alloc/data/hello.txt&offset=6&limit=4`,
      `/v1/client/fs/ls/${allocation}?path=alloc/data/sub`,
      `/v1/client/metadata?node_id=${nodeId}`,
      `/v1/client/allocation/${allocation}/checks`,
    ]) {
      const [there, through] = [await ask(direct, path), await ask(around, path)];
      assert.equal(there.status, 200, there.text);
      // Nomad writes a map's members in another order each time
      assert.deepEqual([through.status, parsed(through.text)], [200, parsed(there.text)], path);
      assert.deepEqual([there.reach, through.reach], [undefined, "servers; reason=address"]);
    }
    assert.equal((await ask(around, `/v1/client/stats?node_id=${nodeId}`)).status, 200);
    const signal = `/v1/client/allocation/${allocation}/signal`;
    const refused = [await ask(direct, signal, "POST"), await ask(around, signal, "POST")];
    assert.equal(refused[0]?.status, refused[1]?.status);
  });

  test("a log is followed and a command runs through a server", patient, async () => {
    const log = await request(
      `${around.url}/v1/client/fs/logs/${allocation}?task=talk&type=stdout&follow=true&plain=true`,
      { headers: { "x-nomad-token": nomad.token } },
    );
    log.body.on("error", () => undefined);
    assert.equal(log.headers["x-serai-reach"], "servers; reason=address");
    let text = "";
    for await (const chunk of log.body) {
      text += String(chunk);
      if (text.includes("line 3\n")) break;
    }
    assert.match(text, /^ready\nline 1\n/);
    const client = execClient({
      url: around.url,
      allocation,
      token: nomad.token,
      task: "talk",
      command: ["/bin/sh", "-c", "read word; echo got $word; exit 3"],
    });
    await client.opened;
    client.stdin("it\n");
    client.closeStdin();
    await client.closed;
    assert.equal(client.output("stdout").toString(), "got it\n");
    assert.equal(client.exitCode(), 3);
  });

  test(
    "an agent whose certificate is of an unknown authority is not reached",
    patient,
    async () => {
      const settings = settingsOf(nomad);
      const strange = await home.gateway({
        ...settings,
        data_dir: `${home.directory}/strange-agent`,
        nomad: { ...settings.nomad, through_servers: false },
        reach: { ...settings.reach, ca_file: strangeCa },
      });
      await until("ready", async () => (await fetch(`${strange.adminUrl}/readyz`)).ok);
      const reply = await ask(strange, `/v1/client/fs/ls/${allocation}?path=/`);
      assert.equal(reply.status, 502);
      // a gateway that has just begun waits a moment for a tunnel, where no server is asked in its place
      assert.match(
        reply.text,
        /^node client-1 cannot be reached: its address: its certificate is not trusted \(TLS, \d s ago\)$/,
      );
      assert.equal((await ask(strange, `/v1/allocation/${allocation}`)).status, 200);
    },
  );

  test("a server whose certificate is of an unknown authority is not asked", patient, async () => {
    const settings = settingsOf(nomad);
    const strange = await home.gateway({
      ...settings,
      data_dir: `${home.directory}/strange-server`,
      nomad: { ...settings.nomad, ca_file: strangeCa },
    });
    const text = await until("it says why", async () => {
      const answer = await fetch(`${strange.adminUrl}/readyz?verbose`);
      const said = await answer.text();
      return !answer.ok && said.includes("authority") && said;
    });
    const origin = nomad.servers[0]?.origin;
    assert.ok(
      text.includes(
        `the Nomad server at ${origin} shows a certificate of an authority that is not trusted: set nomad.ca_file to the cluster's CA`,
      ),
      text,
    );
    assert.equal((await ask(strange, "/v1/jobs")).status, 503);
  });

  test("another region has no path, over HTTP and as a WebSocket", patient, async () => {
    const reply = await ask(direct, `/v1/client/fs/ls/${allocation}?path=/&region=west`);
    assert.deepEqual([reply.status, reply.text], [500, "No path to region"]);
    const exec = `/v1/client/allocation/${allocation}/exec?task=talk&command=%5B%22true%22%5D&region=west`;
    const socket = await rawUpgrade(direct.port, exec, nomad.token);
    assert.match(Buffer.concat(await socket.toArray()).toString(), /No path to region/);
  });

  test(
    "an allocation that the agent does not have is unknown in a server's words",
    patient,
    async () => {
      const other = await nomad.run(talker({ id: "gone", on: nomad.clients[0]?.name ?? "" }));
      const id = other.allocations[0]?.id ?? "";
      assert.equal((await ask(direct, `/v1/client/fs/ls/${id}?path=/`)).status, 200);
      await nomad.ask("/v1/job/gone?purge=true", { method: "DELETE" });
      await nomad.ask("/v1/system/gc", { method: "PUT" });
      const reply = await until("it is collected", async () => {
        const answer = await ask(direct, `/v1/client/fs/ls/${id}?path=/`);
        return answer.status === 404 && answer;
      });
      assert.equal(reply.text, `Unknown allocation "${id}"`);
    },
  );
});
