/** Real Nomads to measure: a server and its clients as processes of their own, a file to read and a token; serai in front of them. */
import { createHash, randomBytes } from "node:crypto";
import { createWriteStream } from "node:fs";
import path from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { NomadAgent } from "../../test/support/nomad-agent.ts";
import { type NomadCluster, startNomad } from "../../test/support/nomad-cluster.ts";
import { talker } from "../../test/support/nomad-jobs.ts";
import { createHome, until } from "../../test/support/processes.ts";
import { cpuMs, type Processes } from "./cpu.ts";

export type Part = "server" | "agents" | "serai";
export type Way = "server" | "serai";

export const bulkBytes = 2 ** 30;
export const warmBytes = 2 ** 26;

export interface Setting extends AsyncDisposable {
  readonly processes: Processes<Part>;
  /** A client token that may read files. */
  readonly token: string;
  /** One on each client. */
  readonly allocations: readonly string[];
  /** The origin that a caller asks. */
  readonly origins: Readonly<Record<Way, string>>;
  /** Hash of `bulk.bin`, which the first allocation has. */
  readonly bulkHash: string;
}

const block = randomBytes(2 ** 20);

/** A file of random blocks, each of them numbered; its SHA-256. */
export const writeBlocks = async (file: string, bytes: number): Promise<string> => {
  const hash = createHash("sha256");
  const blocks = function* (): Generator<Buffer> {
    for (let at = 0; at < bytes; at += block.length) {
      const next = Buffer.from(block);
      next.writeUInt32BE(at / block.length);
      hash.update(next);
      yield next;
    }
  };
  await pipeline(Readable.from(blocks()), createWriteStream(file));
  return hash.digest("hex");
};

const gatewayRules = 'namespace "*" { capabilities = ["read-job"] }\nnode { policy = "read" }';
const callerRules = 'namespace "default" { capabilities = ["read-job", "read-fs", "read-logs"] }';

/** One allocation on each client; their ids, the first client's first. */
const runTalkers = async (nomad: NomadCluster): Promise<string[]> => {
  const ids: string[] = [];
  for (const { name } of nomad.clients) {
    const { allocations } = await nomad.run(talker({ id: `bench-${name}`, on: name }));
    ids.push(...allocations.map(({ id }) => id));
  }
  return ids;
};

/** Resolves when the process has used next to nothing for a while: what starting it left to do is done. */
const quiet = (pid: number): Promise<unknown> => {
  let before = cpuMs(pid);
  return until(`process ${pid} is quiet`, async () => {
    await new Promise((resolve) => setTimeout(resolve, 500));
    const used = cpuMs(pid) - before;
    before += used;
    return used < 50;
  });
};

export interface Cluster extends AsyncDisposable {
  readonly nomad: NomadCluster;
  readonly server: NomadAgent;
  /** A client token that may read files. */
  readonly token: string;
  /** One on each client. */
  readonly allocations: readonly string[];
  /** Where the first allocation has its data. */
  readonly data: string;
}

export const openCluster = async (clients: number): Promise<Cluster> => {
  await using stack = new AsyncDisposableStack();
  const nomad = stack.use(await startNomad({ servers: 1, clients, aclTtl: "30s" }));
  const [server] = nomad.servers;
  if (server === undefined) throw new Error("no server");
  const allocations = await runTalkers(nomad);
  const token = await nomad.tokenWith("caller", callerRules);
  const data = path.join(nomad.directory, `client-1/data/alloc/${allocations[0]}/alloc/data`);
  const running = stack.move();
  return {
    nomad,
    server,
    token,
    allocations,
    data,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
};

/** `node`: arguments of the gateway's Node, such as --cpu-prof. */
export const openSetting = async (node: readonly string[]): Promise<Setting> => {
  await using stack = new AsyncDisposableStack();
  const home = stack.use(createHome());
  const cluster = stack.use(await openCluster(2));
  const { nomad, server, token, allocations, data } = cluster;
  const gatewayToken = await nomad.tokenWith("gateway", gatewayRules);
  const gateway = await home.gateway(
    { registry: "nomad", nomad: { addresses: [server.origin], token: gatewayToken } },
    { node },
  );
  await writeBlocks(path.join(data, "warm.bin"), warmBytes);
  const bulkHash = await writeBlocks(path.join(data, "bulk.bin"), bulkBytes);
  await until("the gateway is ready", async () => (await fetch(`${gateway.adminUrl}/readyz`)).ok);
  await quiet(gateway.pid);
  const running = stack.move();
  return {
    processes: {
      server: [server.pid],
      agents: nomad.clients.map(({ pid }) => pid),
      serai: [gateway.pid],
    },
    token,
    allocations,
    origins: { server: server.origin, serai: gateway.url },
    bulkHash,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
};
