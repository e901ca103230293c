/** Which node a tunnel is of, proved by the certificate of its connection and by nothing that the agent says. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { appendFileSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { type ConnectionOptions, connect, type TLSSocket } from "node:tls";
import { Agent, request } from "undici";
import { systemClock } from "../../src/lib/clock.ts";
import { tunnelPath, tunnelProtocol } from "../../src/tunnel/protocol.ts";
import { createCertificates, type Wanted } from "../support/certificates.ts";
import { createHome, shellWorkload } from "../support/processes.ts";
import { eventually, type Rig, type RigAgent, type Settings, startRig } from "../support/rig.ts";

const node = "7d2d6b1e-63c9-4d5d-8f0b-2f6a1c9d3e55";
const other = "11111111-1111-4111-8111-111111111111";
const third = "22222222-2222-4222-8222-222222222222";
const fourth = "44444444-4444-4444-8444-444444444444";
const fifth = "55555555-5555-4555-8555-555555555555";
const named = (id: string): string => `URI:urn:uuid:${id}`;
const good = { by: "nodes-ca", names: [named(node)], purpose: "clientAuth" } as const;
const dayMs = 86_400_000;

const certificates = createCertificates();
after(() => certificates[Symbol.dispose]());
const { make, pair, certFile, keyFile, cert } = certificates;

// biome-ignore format: a table
const made: Readonly<Record<string, Wanted>> = {
  "nodes-ca": { authority: true },
  "callers-ca": { authority: true },
  foreign: { authority: true },
  gateway: { by: "callers-ca", names: ["IP:127.0.0.1"], purpose: "serverAuth" },
  caller: { by: "callers-ca", names: ["DNS:user.example"], purpose: "clientAuth" },
  "node-of-callers-ca": { ...good, by: "callers-ca" },
  node: { ...good, days: 1 },
  "second-node": { ...good, names: [named(other)] },
  "fourth-node": { ...good, names: [named(fourth)] },
  "fifth-node": { ...good, names: ["DNS:agent-5.example", named(fifth)] },
  renewed: { ...good, days: 30 },
  expired: { ...good, days: -1 },
  "user-of-nodes-ca": { ...good, names: ["DNS:user.example", "email:user@example"] },
  "of-a-foreign-authority": { ...good, by: "foreign" },
  "caller-of-another": { by: "foreign", names: ["DNS:user.example"], purpose: "clientAuth" },
  "of-its-own": { names: good.names, purpose: good.purpose },
  authority: { ...good, authority: true },
  "for-servers": { ...good, purpose: "serverAuth" },
  "for-nothing": { by: good.by, names: good.names },
  several: { ...good, names: [named(node), named(other)] },
  "no-node": { ...good, names: ["URI:urn:uuid:everything"] },
  "in-disguise": { ...good, names: ["DNS:urn:uuid:7d2d6b1e-63c9-4d5d-8f0b-2f6a1c9d3e55"] },
};
for (const [name, wanted] of Object.entries(made)) make(name, wanted);

const liveAuthorities = path.join(certificates.directory, "live-ca.crt");
const trust = (name: string): void => copyFileSync(certFile(name), liveAuthorities);
trust("nodes-ca");

const settings = (tls: Settings = {}): Settings => ({
  tls: { cert_file: certFile("gateway"), key_file: keyFile("gateway"), ...tls },
  tunnel: { client_ca_file: liveAuthorities },
});

const open = async (rig: Rig, options: ConnectionOptions): Promise<TLSSocket> => {
  const socket = connect({
    port: Number(new URL(rig.url).port),
    host: "127.0.0.1",
    ca: cert("callers-ca"),
    ...options,
  });
  socket.on("error", () => socket.destroy());
  const settled = new Promise((resolve) =>
    socket.once("secureConnect", resolve).once("close", resolve),
  );
  await settled;
  return socket;
};

interface Said {
  readonly id?: string | undefined;
  readonly secret?: string | undefined;
}

const askOn = (socket: TLSSocket, { id, secret }: Said): Promise<string> =>
  new Promise((resolve) => {
    let text = "";
    const ended = (): void => {
      socket.destroy();
      resolve(text);
    };
    socket.once("close", ended);
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
      if (/^HTTP\/1\.1 101 [\s\S]*\r\n\r\n/.test(text)) ended();
    });
    socket.write(
      [
        `GET ${tunnelPath} HTTP/1.1`,
        "Host: gateway",
        "Connection: Upgrade",
        `Upgrade: ${tunnelProtocol}`,
        ...(id === undefined ? [] : [`X-Serai-Node: ${id}`]),
        ...(secret === undefined ? [] : [`Authorization: Bearer ${secret}`]),
        "\r\n",
      ].join("\r\n"),
    );
  });

/** The gateway's answer to a hello with that certificate. */
const hello = async (
  rig: Rig,
  certificate: string | undefined,
  said: Said = {},
  options: ConnectionOptions = {},
): Promise<string> =>
  askOn(await open(rig, { ...(certificate ? pair(certificate) : {}), ...options }), said);

type Reply = readonly [status: number, text: string];

const ask = async (
  rig: Rig,
  certificate: string | undefined,
  target: string,
  { method, headers }: { readonly method: "GET" | "PUT"; readonly headers: Record<string, string> },
): Promise<Reply> => {
  const shown = certificate === undefined ? {} : pair(certificate);
  const dispatcher = new Agent({ connect: { ca: cert("callers-ca"), ...shown } });
  try {
    const { statusCode, body } = await request(`${rig.url}${target}`, {
      dispatcher,
      method,
      headers,
      body: method === "PUT" ? "{}" : null,
    });
    return [statusCode, await body.text()];
  } finally {
    await dispatcher.destroy();
  }
};

const get = (
  rig: Rig,
  certificate: string | undefined,
  target: string,
  token?: string,
): Promise<Reply> =>
  ask(rig, certificate, target, {
    method: "GET",
    headers: token === undefined ? {} : { "x-nomad-token": token },
  });

const put = (rig: Rig, certificate: string, target: string, secret: string): Promise<Reply> =>
  ask(rig, certificate, target, {
    method: "PUT",
    headers: { authorization: `Bearer ${secret}` },
  });

const events = (rig: Rig, kind: string): readonly unknown[] =>
  rig
    .audit()
    .filter(({ event }) => event === kind)
    .map(({ reason }) => reason);

const noAuthority = "is not issued by an authority in tunnel.client_ca_file";
const one = "it needs one URI:urn:uuid:<node id>";
// biome-ignore format: a table
const refusals: readonly { name: string; shows: string; id?: string; words: string }[] = [
  { name: "one that has expired", shows: "expired", words: "has expired, on " },
  { name: "a user's", shows: "user-of-nodes-ca", words: `names no node: ${one}` },
  { name: "one of a foreign authority", shows: "of-a-foreign-authority", words: noAuthority },
  { name: "one that it has made itself", shows: "of-its-own", words: noAuthority },
  { name: "an authority's (CA:TRUE)", shows: "authority", words: "is an authority's own (CA:TRUE)" },
  { name: "one for servers", shows: "for-servers", words: "is not for TLS clients (extendedKeyUsage clientAuth)" },
  { name: "one for no purpose", shows: "for-nothing", words: "is not for TLS clients (extendedKeyUsage clientAuth)" },
  { name: "one of several nodes", shows: "several", words: `names several nodes: ${one}` },
  { name: "one of a node without an id", shows: "no-node", words: "names a node by what is no node's id" },
  { name: "one whose host is named like a node", shows: "in-disguise", words: `names no node: ${one}` },
  { name: "another node's", shows: "second-node", words: `is of node ${other}, not of the one in x-serai-node` },
];

describe("a hello with a certificate", () => {
  let rig: Rig;
  let shiftMs = 0;
  let home = "";
  before(async () => {
    home = path.join(certificates.directory, "agent");
    mkdirSync(home);
    writeFileSync(path.join(home, "node-id"), `${node}\n`);
    for (const [from, to] of [
      [certFile("node"), "node.crt"],
      [keyFile("node"), "node.key"],
    ] as const)
      copyFileSync(from, path.join(home, to));
    rig = await startRig({
      settings: settings(),
      clock: { ...systemClock, now: () => systemClock.now() + shiftMs },
      agents: [
        {
          workloads: [shellWorkload("web", "echo first; sleep 1000")],
          settings: {
            data_dir: home,
            gateway: {
              tunnel: true,
              ca_file: certFile("callers-ca"),
              cert_file: path.join(home, "node.crt"),
              key_file: path.join(home, "node.key"),
            },
          },
        },
      ],
    });
  });
  after(async () => {
    await rig[Symbol.asyncDispose]();
  });

  for (const { name, shows, id = node, words } of refusals)
    test(`${name} is refused though a good join token is beside it, and audited`, async () => {
      const answer = await hello(rig, shows, { id, secret: rig.joinSecret() });
      assert.match(answer, /^HTTP\/1\.1 403 /);
      assert.ok(answer.includes(`Permission denied: the node's certificate ${words}`), answer);
      await eventually("its record", () =>
        events(rig, "tunnel_refused").some((reason) => String(reason).includes(words)),
      );
    });

  test("none, and no token: refused; a token alone is good", async () => {
    const refused = await hello(rig, undefined, { id: other });
    assert.match(refused, /^HTTP\/1\.1 403 [\s\S]*\r\n\r\nPermission denied\n$/);
    const taken = await hello(rig, undefined, { id: third, secret: rig.joinSecret() });
    assert.match(taken, /^HTTP\/1\.1 101 /);
  });

  test("a good one is let in as the node that it names, whether the agent says so or not", async () => {
    for (const id of [undefined, other.toUpperCase()]) {
      const answer = await hello(rig, "second-node", { id });
      assert.match(answer, /^HTTP\/1\.1 101 /);
      assert.match(answer, new RegExp(`\r\nX-Serai-Node: ${other}\r\n`));
    }
  });

  test("its agent is served through it", async () => {
    const [status, text] = await get(
      rig,
      undefined,
      `/v1/client/fs/ls/${rig.allocation("web")}?path=/alloc/logs`,
      rig.secret("management"),
    );
    assert.equal(status, 200, text);
    assert.match(text, /main\.stdout\.0/);
  });

  test("connectors show each node's own, without any token", async () => {
    await using connector = createHome();
    const ids = { "fourth-node": fourth, "fifth-node": fifth };
    const file = path.join(connector.directory, "connect.json");
    const agents = Object.entries(ids).map(([name, id]) => ({
      node_id: id,
      cert_file: certFile(name),
      key_file: keyFile(name),
    }));
    writeFileSync(
      file,
      JSON.stringify({ gateways: [rig.url], ca_file: certFile("callers-ca"), agents }),
    );
    const program = connector.spawn(["connect", "--config", file]);
    const isOpen = (id: string): boolean =>
      rig.audit().some(({ event, nodeId }) => event === "tunnel_opened" && nodeId === id);
    await eventually("both tunnels", () => (isOpen(fourth) && isOpen(fifth)) || undefined);
    assert.deepEqual(program.errors, []);
  });

  test("callers need none, and a node's opens nothing to them", async () => {
    const list = "/v1/allocations";
    const [anonymous] = await get(rig, undefined, list);
    const [withNode] = await get(rig, "node", list);
    assert.deepEqual([anonymous, withNode], [403, 403]);
    for (const shown of [undefined, "node", "expired", "of-a-foreign-authority"])
      assert.equal((await get(rig, shown, list, rig.secret("management")))[0], 200, shown);
  });

  for (const version of ["TLSv1.2", "TLSv1.3"] as const)
    test(`a session of another connection proves no node (${version})`, async () => {
      const versions = { minVersion: version, maxVersion: version };
      const first = await open(rig, { ...versions, ...pair("second-node") });
      const sessions: Buffer[] = [];
      first.on("session", (session: Buffer) => sessions.push(session));
      const answered = once(first, "data");
      first.write("GET /v1/status/leader HTTP/1.1\r\nHost: gateway\r\n\r\n");
      await answered;
      const own = first.getSession();
      if (own) sessions.push(own);
      first.destroy();
      assert.ok(sessions.length > 0);
      for (const session of sessions) {
        const socket = await open(rig, { ...versions, session });
        assert.equal(socket.isSessionReused(), false);
        assert.match(await askOn(socket, { id: other }), /^HTTP\/1\.1 403 /);
      }
    });

  test("odd names and protocols of a handshake harm nobody", async () => {
    for (const servername of ["x".repeat(250), "a..b", "localhost"])
      for (const ALPNProtocols of [["h2", "nonsense"], ["x".repeat(255)], ["http/1.1"]]) {
        const options = { servername, ALPNProtocols, rejectUnauthorized: false };
        (await open(rig, { ...pair("second-node"), ...options })).destroy();
      }
    assert.equal((await get(rig, undefined, "/v1/status/leader"))[0], 200);
  });

  test("its tunnel ends when it expires, and the next is dialled with the renewed one", async () => {
    const opened = events(rig, "tunnel_opened").length;
    for (const [from, to] of [
      [certFile("renewed"), "node.crt"],
      [keyFile("renewed"), "node.key"],
    ] as const)
      copyFileSync(from, path.join(home, to));
    shiftMs = 1.5 * dayMs;
    await eventually("it ends", () =>
      events(rig, "tunnel_ended").includes("its node certificate counts no more"),
    );
    await eventually("it is back", () => events(rig, "tunnel_opened").length > opened);
  });

  test("its tunnel ends when its authority is taken from the file, and not when the file is broken", async () => {
    const ends = (): number =>
      events(rig, "tunnel_ended").filter((why) => why === "its node certificate counts no more")
        .length;
    const before = ends();
    writeFileSync(liveAuthorities, "nothing\n");
    await rig.gateway.reload();
    await eventually("it is told", () =>
      rig.logText().includes("authorities refused, those before stay"),
    );
    assert.match(await hello(rig, "expired"), /has expired/);
    assert.equal(ends(), before);
    trust("foreign");
    await rig.gateway.reload();
    await eventually("it ends", () => ends() > before);
    assert.ok((await hello(rig, "renewed")).includes(noAuthority));
    trust("nodes-ca");
    await rig.gateway.reload();
    assert.match(await hello(rig, "renewed"), /^HTTP\/1\.1 101 /);
  });
});

/** Its one proof is its certificate. */
const certifiedAgent = (name: string, id: string, gateway: Settings = {}): RigAgent => {
  const data = path.join(certificates.directory, `agent-${name}`);
  mkdirSync(data);
  writeFileSync(path.join(data, "node-id"), `${id}\n`);
  return {
    name,
    joinSecret: "",
    workloads: [shellWorkload(name, "echo first; sleep 1000")],
    settings: {
      data_dir: data,
      gateway: {
        ca_file: certFile("callers-ca"),
        cert_file: certFile(name),
        key_file: keyFile(name),
        ...gateway,
      },
    },
  };
};

/** Of requests for which no row is known. */
const denials = async ({ adminUrl }: Rig): Promise<{ errors: number; answers: number }> => {
  const text = await (await fetch(`${adminUrl}/metrics`)).text();
  const figure = (name: RegExp): number => Number(name.exec(text)?.[1] ?? 0);
  return {
    errors: figure(/^serai_errors_total\{code="permission_denied"\} (\d+)/m),
    answers: figure(
      /^serai_http_requests_total\{route="unmatched",method="GET",code="403"\} (\d+)/m,
    ),
  };
};

describe("where callers must show a certificate too", () => {
  const callersFile = path.join(certificates.directory, "live-callers-ca.crt");
  copyFileSync(certFile("callers-ca"), callersFile);
  let rig: Rig;
  before(async () => {
    rig = await startRig({
      settings: settings({ client_ca_file: callersFile }),
      agents: [
        certifiedAgent("fourth-node", fourth),
        certifiedAgent("fifth-node", fifth, { tunnel: true }),
      ],
    });
  });
  after(async () => {
    await rig[Symbol.asyncDispose]();
  });
  const leader = "/v1/status/leader";

  test("agents are announced, dialled or through their tunnels, and ask who their callers are, without a join token", async () => {
    for (const job of ["fourth-node", "fifth-node"]) {
      const target = `/v1/client/fs/ls/${rig.allocation(job)}?path=/alloc/logs`;
      const [status, text] = await get(rig, "caller", target, rig.secret("management"));
      assert.equal(status, 200, text);
      assert.match(text, /main\.stdout\.0/);
    }
  });

  test("no other node is announced with a node's certificate, whatever token is beside it", async () => {
    for (const [shown, words] of [
      ["fourth-node", `the node's certificate is of node ${fourth}`],
      ["user-of-nodes-ca", "the certificate is no caller's"],
    ] as const) {
      const [status, text] = await put(rig, shown, `/v1/serai/node/${other}`, rig.joinSecret());
      assert.equal(status, 403);
      assert.ok(text.includes(words), text);
    }
    assert.ok(events(rig, "join_refused").length > 0);
  });

  test("a node's opens a tunnel and what its agent asks, nothing else, whatever token is beside it", async () => {
    assert.match(await hello(rig, "node"), /^HTTP\/1\.1 101 /);
    for (const shown of ["node", "node-of-callers-ca"]) {
      const [status, text] = await get(rig, shown, leader, rig.secret("management"));
      assert.equal(status, 403, shown);
      assert.match(text, /the certificate is no caller's/);
    }
  });

  test("any other certificate of the nodes' authority opens nothing", async () => {
    assert.equal((await get(rig, "user-of-nodes-ca", leader))[0], 403);
    assert.match(await hello(rig, "user-of-nodes-ca"), /^HTTP\/1\.1 403 /);
  });

  test("what is refused to them is counted and logged as any other refusal", async () => {
    const before = await denials(rig);
    assert.equal((await get(rig, "user-of-nodes-ca", leader))[0], 403);
    assert.deepEqual(await denials(rig), {
      errors: before.errors + 1,
      answers: before.answers + 1,
    });
    assert.match(rig.logText(), /"words":"[^"]*the certificate is no caller's/);
  });

  test("a caller's opens the API and no tunnel", async () => {
    assert.equal((await get(rig, "caller", leader))[0], 200);
    const answer = await hello(rig, "caller", { id: node, secret: rig.joinSecret() });
    assert.match(answer, /^HTTP\/1\.1 403 [\s\S]*names no node/);
  });

  test("none, and one of a foreign authority, get no answer at all", async () => {
    await assert.rejects(get(rig, undefined, leader));
    assert.equal(await hello(rig, undefined, { id: node, secret: rig.joinSecret() }), "");
    assert.equal(await hello(rig, "of-a-foreign-authority"), "");
    assert.equal(await hello(rig, "expired"), "");
  });

  test("callers of an authority that is added to the file are served after a reload", async () => {
    await assert.rejects(get(rig, "caller-of-another", leader));
    appendFileSync(callersFile, readFileSync(certFile("foreign")));
    await rig.gateway.reload();
    for (const shown of ["caller-of-another", "caller"])
      assert.equal((await get(rig, shown, leader))[0], 200, shown);
  });
});
