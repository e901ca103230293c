/** TLS of the public listener, over a gateway process: who may in, and certificates that change while streams live. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import { connect, type TLSSocket } from "node:tls";
import { Agent, request } from "undici";
import { freePort } from "../support/free-port.ts";
import {
  createHome,
  type GatewayProgram,
  type Home,
  shellWorkload,
  until,
} from "../support/processes.ts";

const openssl = (...argv: readonly string[]): void => {
  execFileSync("openssl", argv, { stdio: "ignore" });
};

/** A certificate in `directory` as `name.pem` and `name.key`, signed by `by` or by itself. */
const certify = (directory: string, name: string, by?: string): void => {
  const at = (file: string): string => path.join(directory, file);
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const own = ["-keyout", at(`${name}.key`), "-out", at(`${name}.pem`), "-days", "2"];
  const subject = ["-subj", `/CN=${name}`, "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"];
  const signer = by === undefined ? [] : ["-CA", at(`${by}.pem`), "-CAkey", at(`${by}.key`)];
  openssl("req", "-x509", ...key, ...own, ...subject, ...signer);
};

/** Made once: making keys takes longer than using them. */
const made = mkdtempSync(path.join(tmpdir(), "serai-tls-"));
after(() => rmSync(made, { recursive: true, force: true }));
certify(made, "ca");
for (const name of ["one", "two", "client"]) certify(made, name, "ca");
certify(made, "stranger");

const authorities = (home: Home): void => cpSync(made, home.directory, { recursive: true });

const inHome = (home: Home, file: string): string => path.join(home.directory, file);
const pem = (home: Home, file: string): string => readFileSync(inHome(home, file), "utf8");

const use = (home: Home, name: string): void => {
  writeFileSync(inHome(home, "live.pem"), pem(home, `${name}.pem`));
  writeFileSync(inHome(home, "live.key"), pem(home, `${name}.key`));
};

const settings = (home: Home, name: string, content: object): string => {
  writeFileSync(inHome(home, name), JSON.stringify(content), { mode: 0o600 });
  return inHome(home, name);
};

const tlsSettings = (home: Home): object => ({
  cert_file: inHome(home, "live.pem"),
  key_file: inHome(home, "live.key"),
});

/** The common name that a new handshake is shown. */
const shown = async (home: Home, port: number): Promise<string> => {
  const socket = connect({ host: "127.0.0.1", port, ca: pem(home, "ca.pem") });
  socket.on("error", () => undefined);
  await once(socket, "secureConnect");
  const { subject } = socket.getPeerCertificate();
  socket.destroy();
  return String(subject.CN);
};

const metric = async ({ adminUrl }: GatewayProgram, name: string): Promise<number> => {
  const text = await (await fetch(`${adminUrl}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1]);
};

const follow = async (home: Home, gateway: GatewayProgram, id: string): Promise<TLSSocket> => {
  const socket = connect({ host: "127.0.0.1", port: gateway.port, ca: pem(home, "ca.pem") });
  socket.on("error", () => undefined);
  await once(socket, "secureConnect");
  socket.write(
    `GET /v1/client/fs/logs/${id}?task=main&type=stdout&follow=true&plain=true HTTP/1.1\r\nHost: gate\r\nX-Nomad-Token: ${home.secrets.operator}\r\n\r\n`,
  );
  await once(socket, "data");
  return socket;
};

test("a new certificate is taken at SIGHUP while a follow lives on; a broken pair is refused and the old one stays", async () => {
  await using home = createHome();
  authorities(home);
  use(home, "one");
  const gateway = await home.gateway({ tls: tlsSettings(home) });
  assert.match(gateway.url, /^https:/);
  await home.agent("n1", gateway.url, {
    gateway: { ca_file: inHome(home, "ca.pem") },
    workloads: [shellWorkload("j1", "while :; do echo tick; sleep 0.2; done")],
  });
  const dispatcher = new Agent({ connect: { ca: pem(home, "ca.pem") } });
  const headers = { "x-nomad-token": home.secrets.operator };
  const id = await until("the workload runs", async () => {
    const reply = await request(`${gateway.url}/v1/allocations`, { dispatcher, headers });
    const list: unknown = await reply.body.json();
    assert.ok(Array.isArray(list));
    return list[0]?.ClientStatus === "running" ? String(list[0].ID) : undefined;
  });
  await dispatcher.close();

  const live = await follow(home, gateway, id);
  assert.equal(await shown(home, gateway.port), "one");
  const firstEnds = await metric(gateway, "serai_tls_certificate_expiry_timestamp_seconds");
  assert.ok(firstEnds > Date.now() / 1_000);

  use(home, "two");
  gateway.kill("SIGHUP");
  await until("the new one is shown", async () => (await shown(home, gateway.port)) === "two");
  assert.equal(await metric(gateway, "serai_config_last_reload_successful"), 1);
  await once(live, "data");
  assert.equal(live.destroyed, false, "the follow lives on");

  writeFileSync(inHome(home, "live.key"), pem(home, "one.key")); // not this certificate's
  gateway.kill("SIGHUP");
  await until(
    "the metric says that the reload failed",
    async () => (await metric(gateway, "serai_config_last_reload_successful")) === 0,
  );
  assert.equal(await shown(home, gateway.port), "two");
  await gateway.logged("certificate refused, the old one stays");
  writeFileSync(inHome(home, "live.pem"), "no certificate at all");
  gateway.kill("SIGHUP");
  await until(
    "it was tried",
    () => gateway.output.filter((line) => line.includes("certificate refused")).length >= 2,
  );
  assert.equal(await shown(home, gateway.port), "two");
  await once(live, "data");

  use(home, "one");
  gateway.kill("SIGHUP");
  await until(
    "a sound pair is taken again",
    async () => (await metric(gateway, "serai_config_last_reload_successful")) === 1,
  );
  assert.equal(await shown(home, gateway.port), "one");
  live.destroy();
});

test("an agent takes a new certificate at SIGHUP, though its log cannot be opened again", async () => {
  await using home = createHome();
  authorities(home);
  use(home, "one");
  const gateway = await home.gateway();
  const port = await freePort();
  const logs = inHome(home, "agent-logs");
  mkdirSync(logs);
  const file = path.join(logs, "agent.json");
  const { child } = home.spawn([
    "agent",
    "--config",
    settings(home, "agent.json", {
      data_dir: inHome(home, "agents/n1"),
      listen: `127.0.0.1:${port}`,
      tls: tlsSettings(home),
      gateway: { address: gateway.url, join_token: home.secrets.join },
      log: { file },
    }),
  ]);
  await until(
    "it listens",
    () => existsSync(file) && readFileSync(file, "utf8").includes("announced"),
  );
  assert.equal(await shown(home, port), "one");
  rmSync(logs, { recursive: true });
  use(home, "two");
  child.kill("SIGHUP");
  await until("the new one is shown", async () => (await shown(home, port)) === "two");
});

test("with a client authority only callers with its certificate get in", async () => {
  await using home = createHome();
  authorities(home);
  use(home, "one");
  const gateway = await home.gateway({
    tls: { ...tlsSettings(home), client_ca_file: inHome(home, "ca.pem") },
  });
  const ask = async (name: string | undefined): Promise<number> => {
    const own =
      name === undefined ? {} : { cert: pem(home, `${name}.pem`), key: pem(home, `${name}.key`) };
    const dispatcher = new Agent({ connect: { ca: pem(home, "ca.pem"), ...own } });
    try {
      const reply = await request(`${gateway.url}/v1/status/leader`, { dispatcher });
      await reply.body.dump();
      return reply.statusCode;
    } finally {
      await dispatcher.destroy();
    }
  };
  assert.equal(await ask("client"), 200);
  await assert.rejects(ask(undefined));
  await assert.rejects(ask("stranger"));
  use(home, "two");
  gateway.kill("SIGHUP");
  await gateway.logged("settings read again");
  await assert.rejects(ask(undefined), "the authority is still asked for after a reload");
  assert.equal(await ask("client"), 200);
});

test("odd handshakes and cleartext on the TLS port harm nobody", async () => {
  await using home = createHome();
  authorities(home);
  use(home, "one");
  const gateway = await home.gateway({ tls: tlsSettings(home) });
  const bytes = [
    "GET / HTTP/1.1\r\nHost: gate\r\n\r\n",
    Buffer.from([22, 3, 1, 255, 255, 1, 0, 255, 255]),
    Buffer.alloc(5_000, 0x16),
  ];
  for (const hello of bytes) {
    const socket = createConnection(gateway.port, "127.0.0.1");
    socket.on("error", () => undefined);
    socket.resume();
    socket.end(hello);
    await once(socket, "close");
  }
  for (const servername of ["x".repeat(250), "a..b", "localhost"]) {
    const socket = connect({
      host: "127.0.0.1",
      port: gateway.port,
      servername,
      rejectUnauthorized: false,
      ALPNProtocols: ["h2", "nonsense", "http/1.1"],
    });
    socket.on("error", () => undefined);
    await Promise.race([once(socket, "secureConnect"), once(socket, "close")]);
    socket.destroy();
  }
  assert.equal(await shown(home, gateway.port), "one");
});

test("settings that would leave a door open keep the gateway from starting, or are said aloud", async (t) => {
  await using home = createHome();
  await t.test("an admin listener off loopback without a token", async () => {
    const program = home.spawn([
      "server",
      "--admin-listen",
      "0.0.0.0:0",
      "--listen",
      "127.0.0.1:0",
      "--data-dir",
      inHome(home, "d1"),
    ]);
    const { code } = await program.ended;
    assert.equal(code, 1);
    assert.match(program.errors.join("\n"), /admin\.token: is required/);
  });
  await t.test("a certificate without its key", async () => {
    const program = home.spawn(
      ["server", "--listen", "127.0.0.1:0", "--data-dir", inHome(home, "d2")],
      {
        env: { SERAI_TLS_CERT_FILE: inHome(home, "none.pem") },
      },
    );
    assert.equal((await program.ended).code, 1);
    assert.match(program.errors.join("\n"), /SERAI_TLS_CERT_FILE: needs tls\.key_file/);
  });
  await t.test("a certificate for agents or servers with the key of another one", async () => {
    authorities(home);
    for (const section of ["reach", "nomad"]) {
      const name = section.toUpperCase();
      const program = home.spawn(
        ["server", "--listen", "127.0.0.1:0", "--data-dir", inHome(home, `d3-${section}`)],
        {
          env: {
            SERAI_REGISTRY: section === "nomad" ? "nomad" : "embedded",
            SERAI_NOMAD_ADDRESSES: "https://127.0.0.1:9",
            [`SERAI_${name}_CERT_FILE`]: inHome(home, "one.pem"),
            [`SERAI_${name}_KEY_FILE`]: inHome(home, "two.key"),
          },
        },
      );
      assert.equal((await program.ended).code, 1);
      assert.match(
        program.errors.join("\n"),
        new RegExp(`the certificates of ${section} cannot be used: .*key values mismatch`),
      );
    }
  });
  const gateway = await home.gateway(
    { http: { listen: "0.0.0.0:0" } },
    { env: { SERAI_ADMIN_TOKEN: "an-admin-token-of-some-length" } },
  );
  const url = `http://127.0.0.1:${gateway.port}`;
  await t.test("cleartext on an address that others can reach is warned of", async () => {
    const line = await gateway.logged("cleartext on an address");
    assert.equal(line["level"], "warn");
  });
  await t.test("the admin paths are nothing on the public port", async () => {
    for (const target of ["/metrics", "/livez", "/readyz", "/debug/live", "/readyz?verbose"]) {
      const headers = { "x-nomad-token": home.secrets.management };
      assert.equal((await fetch(`${url}${target}`, { headers })).status, 404, target);
    }
  });
  await t.test("with a token the admin listener shows nothing without it", async () => {
    const authorization = "Bearer an-admin-token-of-some-length";
    const ask = (target: string, headers: Record<string, string> = {}): Promise<Response> =>
      fetch(`${gateway.adminUrl}${target}`, { headers });
    for (const target of ["/metrics", "/debug/live"]) {
      assert.equal((await ask(target)).status, 403);
      assert.equal((await ask(target, { authorization: "Bearer wrong" })).status, 403);
      assert.equal((await ask(target, { authorization })).status, 200);
    }
    assert.equal((await (await ask("/readyz?verbose")).text()).includes("[+]"), false);
    assert.match(
      await (await ask("/readyz?verbose", { authorization })).text(),
      /\[\+\] registry ok/,
    );
    assert.equal((await ask("/livez")).status, 200);
  });
});
