/** The proxies that a user would pick, each one a process with one worker, bare, in front of the same agent. */
import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { freePort } from "../../test/support/free-port.ts";
import { until } from "../../test/support/processes.ts";

/** Programs they are, and their Debian packages. */
export const peerPrograms = { nginx: "nginx-light", haproxy: "haproxy", caddy: "caddy" };

/** `nomad`: a Nomad server, with an agent of its own behind it (nomad-peer.ts). */
export const peerNames = ["undici", "hpm", "caddy", "nginx", "haproxy", "nomad"] as const;
export type PeerName = (typeof peerNames)[number];

export interface Peer {
  readonly name: PeerName;
  readonly origin: string;
  /** The process that carries. */
  readonly pid: number;
}

export interface Peers extends AsyncDisposable {
  readonly all: readonly Peer[];
}

/** One process that writes nowhere else; `http` is what it is to do. */
export const nginxOf = (directory: string, http: string): string => `
daemon off; master_process off; worker_processes 1; pid ${directory}/nginx.pid; error_log stderr crit;
events { worker_connections 4096; }
http {
  access_log off; client_body_temp_path ${directory}/body; proxy_temp_path ${directory}/proxy;
  fastcgi_temp_path ${directory}/f; uwsgi_temp_path ${directory}/u; scgi_temp_path ${directory}/s;
  keepalive_requests 1000000;
  ${http}
}
`;

const nginxConfig = (port: number, agent: string, directory: string): string =>
  nginxOf(
    directory,
    `upstream agent { server ${agent}; keepalive 64; keepalive_requests 1000000; }
  server {
    listen 127.0.0.1:${port};
    location / { proxy_pass http://agent; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }
  }`,
  );

const haproxyConfig = (port: number, agent: string): string => `
global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
listen gate
  bind 127.0.0.1:${port}
  server agent ${agent}
`;

const caddyConfig = (port: number, agent: string): string => `
{
  admin off
  log {
    output discard
  }
  auto_https off
}
http://127.0.0.1:${port} {
  bind 127.0.0.1
  reverse_proxy ${agent}
}
`;

export const listening = (port: number): Promise<true> =>
  until(`port ${port} listens`, async () => {
    const socket = connect(port, "127.0.0.1");
    try {
      await once(socket, "connect");
      return true;
    } catch {
      return undefined;
    } finally {
      socket.destroy();
    }
  });

/** `agent` is `host:port`. */
export const openPeers = async (agent: string): Promise<Peers> => {
  await using building = new AsyncDisposableStack();
  const directory = mkdtempSync(path.join(tmpdir(), "serai-bench-peers-"));
  building.defer(() => rmSync(directory, { recursive: true, force: true }));
  const own = (child: ChildProcess): number => {
    building.defer(async () => {
      const gone = child.exitCode === null && once(child, "exit");
      child.kill("SIGKILL");
      await gone;
    });
    return child.pid ?? 0;
  };

  const ofNode = async (name: PeerName, file: string): Promise<Peer> => {
    const child = fork(path.join(import.meta.dirname, file), [`http://${agent}`]);
    const pid = own(child);
    const [{ port }] = await once(child, "message");
    return { name, pid, origin: `http://127.0.0.1:${port}` };
  };

  const configured = async (
    name: PeerName,
    config: (port: number, agent: string, directory: string) => string,
    argv: (file: string) => readonly string[],
  ): Promise<Peer> => {
    const port = await freePort();
    const file = path.join(directory, `${name}.conf`);
    writeFileSync(file, config(port, agent, directory));
    const child = spawn(name, argv(file), {
      stdio: ["ignore", "ignore", name === "caddy" ? "ignore" : "inherit"], // caddy tells its life there
      env: { ...process.env, GOMAXPROCS: "1", HOME: directory },
    });
    const pid = own(child);
    await listening(port);
    return { name, pid, origin: `http://127.0.0.1:${port}` };
  };

  const all = [
    await ofNode("undici", "bare-relay.ts"),
    await ofNode("hpm", "hpm-gateway.ts"),
    await configured("caddy", caddyConfig, (file) => [
      "run",
      "--adapter",
      "caddyfile",
      "--config",
      file,
    ]),
    await configured("nginx", nginxConfig, (file) => ["-c", file]),
    await configured("haproxy", haproxyConfig, (file) => ["-q", "-db", "-f", file]),
  ];
  const stack = building.move();
  return { all, [Symbol.asyncDispose]: () => stack.disposeAsync() };
};
