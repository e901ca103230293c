/** What the tunnel bench measures: a gateway, and agents that it reaches in different ways, each a process of its own. */
import { fork } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createReadStream, linkSync, readFileSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import path from "node:path";
import { freePort } from "../../test/support/free-port.ts";
import {
  createHome,
  type GatewayProgram,
  shellWorkload,
  until,
} from "../../test/support/processes.ts";

/** `tunnel`: an agent that dials out; `connector`: `serai connect` in front of the same agent. */
export const ways = ["direct", "tunnel", "connector"] as const;
export type Way = (typeof ways)[number];

export const bulkBytes = 2 ** 30;
export const pathBytes = 2 ** 26;

/** An agent and how it is reached. */
export interface Reached {
  readonly origin: string;
  readonly allocation: string;
  readonly gateway: number;
  readonly agent: number;
  readonly connector: number | undefined;
  /** Where the agent listens, if it does. */
  readonly address: string;
}

export interface Setting extends AsyncDisposable {
  readonly gateway: GatewayProgram;
  readonly token: string;
  /** Hashes of `bulk.bin` and `path.bin`, which every allocation has. */
  readonly hashes: Readonly<Record<"bulk" | "path", string>>;
  /** Starts an agent; `before` opens a process on the way to it. */
  reached(way: Way, before?: Before): Promise<Reached>;
  /** A line of that shape. */
  shaped(shape: Shape): Before;
  /** node:http and undici instead of the gateway, in front of an agent that listens. */
  bare(direct: Reached): Promise<Reached>;
  /** The path alone, before a server of `path.bin`; its origin. */
  plain(shape: Shape): Promise<string>;
}

/** Opens something before a port; the port that it listens at. */
export type Before = (port: number) => Promise<number>;

export interface Shape {
  readonly mbitPerSecond: number;
  readonly roundTripMs: number;
}

/** Random blocks, each of them numbered; its SHA-256. */
const writeBlocks = async (file: string, bytes: number): Promise<string> => {
  const block = randomBytes(2 ** 20);
  const hash = createHash("sha256");
  await using handle = await open(file, "w");
  for (let at = 0; at < bytes; at += block.length) {
    block.writeUInt32BE(at / block.length);
    hash.update(block);
    await handle.write(block);
  }
  return hash.digest("hex");
};

interface Helper {
  readonly pid: number;
  readonly port: number;
}

interface Announced {
  readonly ID: string;
  readonly JobID: string;
  readonly ClientStatus: string;
}

export const openSetting = async (node: readonly string[]): Promise<Setting> => {
  await using building = new AsyncDisposableStack();
  const home = building.use(createHome());
  const gateway = await home.gateway({}, { node });
  const token = home.secrets.operator;
  const files = {
    bulk: path.join(home.directory, "bulk"),
    path: path.join(home.directory, "path"),
  };
  const hashes = {
    bulk: await writeBlocks(files.bulk, bulkBytes),
    path: await writeBlocks(files.path, pathBytes),
  };
  const stack = building.move();
  const start = async (program: string, ...argv: readonly unknown[]): Promise<Helper> => {
    const child = fork(path.join(import.meta.dirname, program), argv.map(String));
    stack.defer(() => void child.kill("SIGKILL"));
    const [{ port }] = await once(child, "message");
    return { pid: child.pid ?? 0, port: Number(port) };
  };
  const shaped =
    ({ mbitPerSecond, roundTripMs }: Shape): Before =>
    async (behind) =>
      (await start("shaping-relay.ts", behind, mbitPerSecond, roundTripMs)).port;

  /** The id of its one allocation, when it runs. */
  const allocationOf = (name: string): Promise<string> =>
    until(`${name} runs`, async () => {
      const answer = await fetch(`${gateway.url}/v1/allocations`, {
        headers: { "x-nomad-token": token },
      });
      const list = (await answer.json()) as readonly Announced[]; // the gateway's own words
      return list.find((one) => one.JobID === name && one.ClientStatus === "running")?.ID;
    });

  let count = 0;
  const agentSettings = async (way: Way, before: Before | undefined): Promise<object> => {
    if (way === "tunnel")
      return {
        gateway: {
          tunnel: true,
          tunnel_addresses: before ? [`http://127.0.0.1:${await before(gateway.port)}`] : [],
        },
      };
    if (way === "connector" || before === undefined) return {};
    const port = await freePort();
    return {
      listen: `127.0.0.1:${port}`,
      advertise: `127.0.0.1:${await before(port)}`,
    };
  };

  const startConnector = async (
    name: string,
    address: string,
    before: Before | undefined,
  ): Promise<number> => {
    const file = path.join(home.directory, `${name}.json`);
    const port = before ? await before(gateway.port) : gateway.port;
    const nodeId = readFileSync(path.join(home.directory, "agents", name, "node-id"), "utf8");
    writeFileSync(
      file,
      JSON.stringify({
        gateways: [`http://127.0.0.1:${port}`],
        join_token: home.secrets.join,
        agents: [{ node_id: nodeId.trim(), address }],
      }),
      { mode: 0o600 },
    );
    const connector = home.spawn(["connect", "--config", file]);
    await connector.logged("tunnel open");
    return connector.pid;
  };

  const reached: Setting["reached"] = async (way, before) => {
    const name = `bench-${++count}-${way}`;
    const agent = await home.agent(name, gateway.url, {
      ...(await agentSettings(way, before)),
      workloads: [shellWorkload(name, "exec sleep 100000")],
    });
    const { address } = await agent.logged("agent listens");
    const allocation = await allocationOf(name);
    const data = path.join(home.directory, "agents", name, "alloc", allocation, "alloc/data");
    for (const [file, from] of Object.entries(files))
      linkSync(from, path.join(data, `${file}.bin`));
    const connector =
      way === "connector" ? await startConnector(name, String(address), before) : undefined;
    return {
      origin: gateway.url,
      allocation,
      gateway: gateway.pid,
      agent: agent.pid,
      connector,
      address: String(address),
    };
  };

  const plain: Setting["plain"] = async (shape) => {
    const server = createServer((_request, response) => {
      createReadStream(files.path).pipe(response);
    });
    server.listen(0, "127.0.0.1");
    stack.defer(() => void server.close());
    await once(server, "listening");
    const { port } = server.address() as AddressInfo; // of a TCP server
    return `http://127.0.0.1:${await shaped(shape)(port)}`;
  };

  return {
    gateway,
    token: home.secrets.operator,
    hashes,
    reached,
    shaped,
    bare: async (direct) => {
      const { pid, port } = await start("bare-relay.ts", `http://${direct.address}`);
      return { ...direct, origin: `http://127.0.0.1:${port}`, gateway: pid };
    },
    plain,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
};
