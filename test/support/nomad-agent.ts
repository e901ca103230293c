/** One agent of a real Nomad cluster as a process of its own: its seat (directory, ports), its configuration, its life. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { processesOf } from "../cli/support.ts";
import { freePort } from "./free-port.ts";
import type { NomadCertificates } from "./nomad-certificates.ts";
import { until } from "./processes.ts";

export interface NomadOptions {
  readonly servers: 1 | 3;
  readonly clients?: number;
  /** HTTPS and RPC with certificates of the cluster's own authority, which callers must show too. */
  readonly tls?: boolean;
  /** Nomad's own default is 100. */
  readonly httpMaxConnsPerClient?: number;
  /** How long agents keep a resolved token and its policies: a second, so that a revoked one is soon refused. Nomad's own default is 30s. */
  readonly aclTtl?: string;
}

/** One agent of the cluster, server or client. */
export interface NomadAgent {
  readonly name: string;
  /** `host:port` of its HTTP door. */
  readonly address: string;
  readonly origin: string;
  readonly pid: number;
  readonly log: () => string;
  readonly stop: (signal?: NodeJS.Signals) => Promise<void>;
  /** Starts it again over its own data, on another HTTP port when one is given. */
  readonly start: (httpPort?: number) => Promise<void>;
}

export const patienceMs = 60_000;

interface Seat {
  readonly name: string;
  readonly directory: string;
  readonly ports: { http: number; readonly rpc: number; readonly serf: number };
  /** Its own part of the configuration, in HCL. */
  readonly part: string;
}

const configuration = (
  { name, directory, ports, part }: Seat,
  { httpMaxConnsPerClient = 100, aclTtl = "1s" }: NomadOptions,
  tls: string,
): string => `
name = "${name}"
data_dir = "${directory}/data"
bind_addr = "127.0.0.1"
disable_update_check = true
log_level = "INFO"
ports {
  http = ${ports.http}
  rpc = ${ports.rpc}
  serf = ${ports.serf}
}
advertise {
  http = "127.0.0.1"
  rpc = "127.0.0.1"
  serf = "127.0.0.1"
}
consul {
  auto_advertise = false
  server_auto_join = false
  client_auto_join = false
}
acl {
  enabled = true
  token_ttl = "${aclTtl}"
  policy_ttl = "${aclTtl}"
}
telemetry {
  publish_allocation_metrics = true
  publish_node_metrics = true
}
limits {
  http_max_conns_per_client = ${httpMaxConnsPerClient}
}
plugin "raw_exec" {
  config {
    enabled = true
  }
}
${part}
${tls}
`;

const spawnAgent = (binary: string, seat: Seat, file: string): ChildProcess => {
  const log = openSync(path.join(seat.directory, "log"), "a");
  const child = spawn(binary, ["agent", "-config", file], {
    cwd: seat.directory,
    stdio: ["ignore", log, log],
    env: { PATH: process.env["PATH"], HOME: seat.directory },
  });
  closeSync(log);
  return child;
};

const endOf = async (child: ChildProcess, signal: NodeJS.Signals): Promise<void> => {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "close");
  child.kill(signal);
  const cut = setTimeout(() => child.kill("SIGKILL"), 10_000);
  await ended;
  clearTimeout(cut);
};

interface Launch {
  readonly binary: string;
  readonly options: NomadOptions;
  readonly certificates: NomadCertificates | undefined;
  readonly answers: (origin: string) => Promise<boolean>;
}

export const createNomadAgent = (
  seat: Seat,
  { binary, options, certificates, answers }: Launch,
): NomadAgent => {
  const file = path.join(seat.directory, "nomad.hcl");
  const logFile = path.join(seat.directory, "log");
  let child: ChildProcess | undefined;
  const address = (): string => `127.0.0.1:${seat.ports.http}`;
  const origin = (): string => `${certificates === undefined ? "http" : "https"}://${address()}`;
  const log = (): string => readFileSync(logFile, "utf8");
  return {
    name: seat.name,
    log,
    get address() {
      return address();
    },
    get origin() {
      return origin();
    },
    get pid() {
      return child?.pid ?? 0;
    },
    stop: async (signal = "SIGINT") => {
      if (child !== undefined) await endOf(child, signal);
    },
    start: async (httpPort) => {
      if (httpPort !== undefined) seat.ports.http = httpPort;
      const tls = certificates?.stanza(seat.part.includes("server {") ? "server" : "client") ?? "";
      writeFileSync(file, configuration(seat, options, tls));
      const started = spawnAgent(binary, seat, file);
      child = started;
      const said = (): string => `${seat.name} answers; its log ends: ${log().slice(-800)}`;
      await until(
        said,
        () => {
          assert.equal(started.exitCode, null, said());
          return answers(origin());
        },
        patienceMs,
      );
    },
  };
};

const takeSeat = async (directory: string, name: string): Promise<Omit<Seat, "part">> => {
  const own = path.join(directory, name);
  mkdirSync(own);
  const ports = { http: await freePort(), rpc: await freePort(), serf: await freePort() };
  return { name, directory: own, ports };
};

export const takeSeats = async (
  directory: string,
  { servers: size, clients = 2 }: NomadOptions,
): Promise<{ readonly servers: readonly Seat[]; readonly clients: readonly Seat[] }> => {
  const seats = (count: number, kind: string) =>
    Promise.all(Array.from({ length: count }, (_, at) => takeSeat(directory, `${kind}-${at + 1}`)));
  const servers = await seats(size, "server");
  const serfs = servers.map(({ ports }) => `127.0.0.1:${ports.serf}`);
  const rpcs = servers.map(({ ports }) => `127.0.0.1:${ports.rpc}`);
  const server = `server {
  enabled = true
  bootstrap_expect = ${size}
  heartbeat_grace = "3s"
  min_heartbeat_ttl = "3s"
  server_join {
    retry_join = ${JSON.stringify(serfs)}
    retry_interval = "1s"
  }
}`;
  const client = `client {
  enabled = true
  servers = ${JSON.stringify(rpcs)}
  network_interface = "lo"
  gc_interval = "10m"
  options = { "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean,consul,vault" }
}`;
  return {
    servers: servers.map((seat) => ({ ...seat, part: server })),
    clients: (await seats(clients, "client")).map((seat) => ({ ...seat, part: client })),
  };
};

/** Tasks outlive their agent; what has the cluster's directory in its words is the cluster's. */
export const endLeftovers = (directory: string): void => {
  for (const pid of processesOf(directory)) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // it has just ended
    }
  }
  const mounts = readFileSync("/proc/self/mounts", "utf8").split("\n").reverse();
  for (const line of mounts) {
    const [, point = ""] = line.split(" ");
    if (point.startsWith(`${directory}/`)) spawnSync("umount", ["-l", point]);
  }
};
