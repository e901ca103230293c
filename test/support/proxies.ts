/** Proxies that others wrote, as processes of a test. Where one is not installed the test is skipped aloud, and fails under CI=1. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import type { TestContext } from "node:test";
import { freePort } from "./free-port.ts";
import { until } from "./processes.ts";

export type ProxyName = "nginx" | "haproxy";

/** What stands in nginx's `http` block, and in haproxy's file behind its defaults. */
export type Settings = (port: number) => string;

export interface Proxy extends AsyncDisposable {
  readonly port: number;
}

const nginxFile = (directory: string, settings: string): string => `
  daemon off; master_process off; pid ${directory}/pid; error_log stderr crit;
  events {}
  http { access_log off; client_body_temp_path ${directory}; proxy_temp_path ${directory}; fastcgi_temp_path ${directory};
    uwsgi_temp_path ${directory}; scgi_temp_path ${directory};
    ${settings}
  }`;

const haproxyFile = (_directory: string, settings: string): string => `
defaults
  mode http
  timeout client 5s
  timeout connect 5s
  timeout server 5s
${settings}`;

const files = { nginx: nginxFile, haproxy: haproxyFile };
const argv: Readonly<Record<ProxyName, (file: string, directory: string) => readonly string[]>> = {
  nginx: (file, directory) => ["-c", file, "-p", directory],
  haproxy: (file) => ["-db", "-f", file],
};

const listens = async (port: number): Promise<boolean> => {
  const socket = connect(port, "127.0.0.1");
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
};

const isInstalled = (name: ProxyName): boolean => spawnSync(name, ["-v"]).error === undefined;

/** Undefined: it is not installed, and the test is skipped. */
export const startProxy = async (
  t: TestContext,
  name: ProxyName,
  settings: Settings,
): Promise<Proxy | undefined> => {
  if (!isInstalled(name)) {
    const words = `${name} is not installed: apt-get install ${name}`;
    assert.notEqual(process.env["CI"], "1", words);
    t.skip(words);
    return undefined;
  }
  await using building = new AsyncDisposableStack();
  const directory = mkdtempSync(path.join(tmpdir(), "serai-proxy-"));
  building.defer(() => rmSync(directory, { recursive: true, force: true }));
  const port = await freePort();
  const file = path.join(directory, "settings");
  writeFileSync(file, files[name](directory, settings(port)));
  const child = spawn(name, argv[name](file, directory), { stdio: ["ignore", "ignore", "pipe"] });
  let words = "";
  child.stderr.on("data", (chunk: Buffer) => {
    words += chunk.toString();
  });
  const ended = once(child, "close");
  building.defer(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  await until(`${name} listens`, () => {
    assert.equal(child.exitCode, null, words);
    return listens(port);
  });
  const stack = building.move();
  return { port, [Symbol.asyncDispose]: () => stack.disposeAsync() };
};
