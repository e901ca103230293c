/** A JWT of a configured issuer in front of a real cluster: real agents and servers take the service token in its place. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { type Dispatcher, request } from "undici";
import { isJsonObject, parseJson } from "../../src/lib/json.ts";
import { issuerSettings, signed } from "../support/cluster-issuer.ts";
import { type NomadCluster, nomadBinary, noNomad, startNomad } from "../support/nomad-cluster.ts";
import { talker } from "../support/nomad-jobs.ts";
import { until } from "../support/processes.ts";
import { execClient } from "../support/ws-client.ts";
import { type Serai, startSerai } from "./serai.ts";

/** What the bindings name. All of it: Nomad says 403 to a client token for a policy that does not exist, too. */
const policies = {
  viewer: `namespace "default" { capabilities = ["list-jobs", "read-job", "read-logs", "read-fs"] }`,
  shell: `namespace "default" { capabilities = ["alloc-exec", "alloc-node-exec"] }`,
  halfshell: `namespace "default" { capabilities = ["alloc-exec"] }`,
  keeper: `namespace "default" { capabilities = ["alloc-lifecycle"] }`,
  operator: `node { policy = "read" }`,
  everywhere: `namespace "*" { capabilities = ["list-jobs", "read-job"] }`,
};

const patient = { timeout: 20_000 };

const secretOf = (text: string): string => {
  const document = parseJson(text);
  const secret = isJsonObject(document) ? document["SecretID"] : undefined;
  assert.ok(typeof secret === "string", text);
  return secret;
};

/** A token that holds what all its holders together need: no management. */
const serviceTokenOf = async ({ ask }: NomadCluster): Promise<string> => {
  for (const [Name, Rules] of Object.entries(policies))
    await ask(`/v1/acl/policy/${Name}`, { method: "PUT", body: { Name, Rules } });
  const body = { Name: "service", Type: "client", Policies: Object.keys(policies) };
  return secretOf((await ask("/v1/acl/token", { method: "PUT", body })).text);
};

describe("JWTs in front of a real cluster", { skip: noNomad, timeout: 120_000 }, () => {
  let nomad: NomadCluster;
  let serai: Serai;
  let allocation = "";
  let nodeId = "";
  const stack = new AsyncDisposableStack();

  before(async () => {
    nomad = stack.use(await startNomad({ servers: 1, clients: 1 }));
    const job = await nomad.run(talker({ id: "talk", task: { Identity: { File: true } } }));
    allocation = job.allocations[0]?.id ?? "";
    nodeId = job.allocations[0]?.nodeId ?? "";
    const origins = nomad.servers.map(({ origin }) => origin);
    serai = stack.use(
      await startSerai(nomad, origins, {
        acl: issuerSettings.acl,
        nomad: { service_token: await serviceTokenOf(nomad) },
      }),
    );
  });
  after(async () => {
    await stack.disposeAsync();
  });

  const ask = async (
    path: string,
    groups: readonly string[],
    method: Dispatcher.HttpMethod = "GET",
  ) => {
    const headers = { "x-nomad-token": signed(groups) };
    const { statusCode: status, body } = await request(`${serai.url}${path}`, { method, headers });
    return { status, text: await body.text() };
  };

  test("files and logs are read, and refused without the right", async () => {
    const file = `/v1/client/fs/cat/${allocation}?path=alloc/data/hello.txt`;
    await until(
      "the file is there",
      async () => (await ask(file, ["viewer"])).text === "Hello from Nomad.\n" || undefined,
    );
    assert.deepEqual(await ask(file, ["keeper"]), { status: 403, text: "Permission denied" });
  });

  test("a command runs", patient, async () => {
    const client = execClient({
      url: serai.url,
      allocation,
      token: signed(["shell"]),
      task: "talk",
      command: ["/bin/sh", "-c", "echo in; exit 3"],
    });
    await client.opened;
    client.closeStdin(); // a real agent tells no end before
    await client.closed;
    assert.equal(client.output("stdout").toString(), "in\n");
    assert.equal(client.exitCode(), 3);
  });

  // biome-ignore format: a table
  const passed: readonly (readonly [path: string, groups: readonly string[], status: number])[] = [
    ["/v1/jobs", ["viewer"], 200],
    ["/v1/jobs?namespace=*", ["viewer"], 403],
    ["/v1/jobs?namespace=*", ["everywhere"], 200],
    ["/v1/job/talk/allocations", ["viewer"], 200],
    ["/v1/allocation/:alloc", ["viewer"], 200],
    ["/v1/allocation/:alloc", ["operator"], 403],
    ["/v1/nodes", ["operator"], 200],
    ["/v1/node/:node", ["operator"], 200],
    ["/v1/node/:node/allocations", ["operator"], 403],
    ["/v1/status/leader", ["viewer"], 200],
    ["/v1/acl/token/self", ["admins"], 403],
  ];
  for (const [target, groups, status] of passed)
    test(`${target} for ${groups.join()}: ${status}`, async () => {
      const path = target.replace(":alloc", allocation).replace(":node", nodeId);
      assert.equal((await ask(path, groups)).status, status);
    });

  test(
    "the nomad CLI reads a log and runs a command with a JWT for its token",
    patient,
    async () => {
      const nomadCli = async (groups: readonly string[], ...words: readonly string[]) => {
        const env = { NOMAD_ADDR: serai.url, NOMAD_TOKEN: signed(groups) };
        const { stdout } = await promisify(execFile)(nomadBinary ?? "", words, { env });
        return stdout;
      };
      const short = allocation.slice(0, 8);
      assert.match(await nomadCli(["viewer"], "alloc", "logs", short, "talk"), /^ready\n/);
      assert.equal(
        await nomadCli(
          ["viewer", "shell"],
          "alloc",
          "exec",
          "-i=false",
          "-task",
          "talk",
          short,
          "echo",
          "hi",
        ),
        "hi\n",
      );
      await assert.rejects(
        nomadCli(["viewer"], "alloc", "logs", "-namespace", "*", short, "talk"),
        /give -namespace/,
      );
    },
  );

  test("a login gives a token that works as any other", patient, async () => {
    const method = {
      Name: "corp",
      Type: "JWT",
      TokenLocality: "local",
      MaxTokenTTL: "10m",
      Config: {
        JWTValidationPubKeys: issuerSettings.acl.jwt.issuers[0]?.public_keys,
        BoundIssuer: ["https://issuer.test"],
        BoundAudiences: ["serai"],
        SigningAlgs: ["ES256"],
        ListClaimMappings: { groups: "groups" },
      },
    };
    const rule = {
      AuthMethod: "corp",
      Selector: '"viewer" in list.groups',
      BindType: "policy",
      BindName: "viewer",
    };
    const made = await nomad.ask("/v1/acl/auth-method", { method: "PUT", body: method });
    assert.equal(made.status, 200, made.text);
    assert.equal(
      (await nomad.ask("/v1/acl/binding-rule", { method: "PUT", body: rule })).status,
      200,
    );
    const login = { AuthMethodName: "corp", LoginToken: signed(["viewer"]) };
    const answer = await request(`${serai.url}/v1/acl/login`, {
      method: "POST",
      body: JSON.stringify(login),
    });
    const token = secretOf(await answer.body.text());
    const file = `${serai.url}/v1/client/fs/cat/${allocation}?path=alloc/data/hello.txt`;
    const reply = await request(file, { headers: { "x-nomad-token": token } });
    assert.equal(await reply.body.text(), "Hello from Nomad.\n");
  });

  test("a workload's own JWT has its job's policies, at the agent as well", patient, async () => {
    const show = execClient({
      url: serai.url,
      allocation,
      token: nomad.token,
      task: "talk",
      command: ["/bin/sh", "-c", "cat $NOMAD_SECRETS_DIR/nomad_token"],
    });
    await show.opened;
    show.closeStdin();
    await show.closed;
    const headers = { "x-nomad-token": show.output("stdout").toString().trim() };
    const list = `${serai.url}/v1/client/fs/ls/${allocation}?path=/`;
    const body = {
      Name: "workload",
      Rules: policies.viewer,
      JobACL: { Namespace: "default", JobID: "talk" },
    };
    await nomad.ask("/v1/acl/policy/workload", { method: "PUT", body });
    const read = await request(list, { headers });
    assert.equal(read.statusCode, 200, await read.body.text());
    const other = await request(`${serai.url}/v1/nodes`, { headers });
    assert.deepEqual([other.statusCode, await other.body.text()], [403, "Permission denied"]);
  });

  test("a stop is taken by a right in the allocation's own namespace", async () => {
    const stop = `/v1/allocation/${allocation}/stop`;
    assert.equal((await ask(stop, ["viewer"], "PUT")).status, 403);
    const { status, text } = await ask(stop, ["keeper"], "PUT");
    assert.equal(status, 200, text);
    assert.match(text, /EvalID/);
  });
});
