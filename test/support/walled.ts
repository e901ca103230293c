/** A gateway and an agent behind a firewall, as processes of their own, and a caller beside the gateway. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import path from "node:path";
import { Agent as HttpAgent, request } from "undici";
import { type Firewall, gatewayHost, openFirewall, publicPort } from "./namespaces.ts";
import { createHome, type GatewayProgram, type Home, type Program, until } from "./processes.ts";
import { type ExecClient, execClient } from "./ws-client.ts";

export const adminPort = 4647;
const adminToken = "a-token-for-figures-alone";

export interface Asked {
  readonly method?: "GET" | "POST" | "PUT";
  readonly body?: object;
}

export interface Replied {
  readonly status: number;
  readonly text: string;
}

export interface Walled extends AsyncDisposable {
  readonly firewall: Firewall;
  readonly home: Home;
  readonly gateway: GatewayProgram;
  readonly agent: Program;
  readonly nodeId: string;
  readonly token: string;
  readonly ask: (path: string, asked?: Asked) => Promise<Replied>;
  /** The answer as it comes; rejects when it is broken off. */
  readonly follow: (path: string, signal?: AbortSignal) => Promise<AsyncIterable<Buffer>>;
  readonly exec: (allocation: string, command: readonly string[], tty?: boolean) => ExecClient;
  /** What the gateway's figures say of a series, written as there. */
  readonly figure: (series: string) => Promise<number>;
  /** The id of the only allocation of a job, once it runs. */
  readonly running: (job: string) => Promise<string>;
}

/** A way from this process to a port beside the gateway, which begins at a path. */
const openDoorway = async (
  firewall: Firewall,
  made: AsyncDisposableStack,
  told: readonly string[],
): Promise<void> => {
  const [file = "", ...argv] = firewall.on("gateway");
  const doorway = path.join(import.meta.dirname, "doorway.ts");
  const child = spawn(file, [...argv, process.execPath, doorway, ...told], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const closed = once(child, "close");
  made.defer(async () => {
    child.kill();
    await closed;
  });
  const opened = once(child.stdout, "data").then(() => true);
  assert.ok(await Promise.race([opened, closed.then(() => false)]), "the doorway does not open");
};

const certify = (directory: string): { readonly cert: string; readonly key: string } => {
  const [cert, key] = [path.join(directory, "gate.pem"), path.join(directory, "gate.key")];
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"];
  const names = ["-subj", "/CN=gate", "-addext", `subjectAltName=IP:${gatewayHost}`];
  execFileSync("openssl", ["req", "-x509", ...kind, "-keyout", key, "-out", cert, ...names], {
    stdio: "ignore",
  });
  return { cert, key };
};

/** Resolves when the agent's tunnel is open. It ends everything that it began. */
export const startWalled = async (workloads: readonly object[]): Promise<Walled> => {
  await using made = new AsyncDisposableStack();
  const firewall = made.use(openFirewall());
  const home = made.use(createHome());
  const { cert, key } = certify(home.directory);
  const gateway = await home.gateway(
    {
      http: { listen: `${gatewayHost}:${publicPort}` },
      tls: { cert_file: cert, key_file: key },
      admin: { listen: `${gatewayHost}:${adminPort}` },
      reach: { allow: ["10.213.0.0/16"] },
      metadata: { interval: "1s" },
    },
    { by: firewall.on("gateway"), env: { SERAI_ADMIN_TOKEN: adminToken } },
  );
  const at = (name: string): string => path.join(home.directory, name);
  const [agent] = await Promise.all([
    home.agent(
      "behind",
      `https://${gatewayHost}:${publicPort}`,
      { gateway: { ca_file: cert, tunnel: true }, workloads },
      { by: firewall.on("agent") },
    ),
    openDoorway(firewall, made, [at("door"), gatewayHost, String(publicPort), cert]),
    openDoorway(firewall, made, [at("figures"), gatewayHost, String(adminPort)]),
  ]);
  const line = await agent.logged("tunnel open");
  const nodeId = String(line["node"]);
  const token = home.secrets.operator;
  const callers = new HttpAgent({ connect: { socketPath: at("door") } });
  const reader = new HttpAgent({ connect: { socketPath: at("figures") } });
  for (const one of [callers, reader]) made.defer(() => one.destroy());

  const ask: Walled["ask"] = async (asked, { method = "GET", body } = {}) => {
    const answer = await request(`http://gate${asked}`, {
      method,
      dispatcher: callers,
      headers: { "x-nomad-token": token },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: answer.statusCode, text: await answer.body.text() };
  };

  const all = made.move();
  return {
    firewall,
    home,
    gateway,
    agent,
    nodeId,
    token,
    ask,
    follow: async (asked, signal) => {
      const { statusCode, body } = await request(`http://gate${asked}`, {
        dispatcher: callers,
        headers: { "x-nomad-token": token },
        bodyTimeout: 0,
        ...(signal === undefined ? {} : { signal }),
      });
      if (statusCode !== 200) throw new Error(`${asked}: ${statusCode} ${await body.text()}`);
      return body;
    },
    exec: (allocation, command, tty = false) =>
      execClient({
        url: "http://gate",
        allocation,
        token,
        task: "main",
        command,
        tty,
        options: { createConnection: () => connect(at("door")) },
      }),
    figure: async (series) => {
      const { body } = await request("http://gate/metrics", {
        dispatcher: reader,
        headers: { authorization: `Bearer ${adminToken}` },
      });
      const lines = (await body.text()).split("\n");
      return Number(lines.find((line) => line.startsWith(`${series} `))?.split(" ")[1]);
    },
    running: (job) =>
      until(`${job} runs`, async () => {
        const { text } = await ask(
          `/v1/allocations?filter=${encodeURIComponent(`JobID == "${job}"`)}`,
        );
        return (
          /"ID":"([^"]+)".*"ClientStatus":"running"/.exec(text)?.[1] ??
          /"ClientStatus":"running".*"ID":"([^"]+)"/.exec(text)?.[1]
        );
      }),
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
};
