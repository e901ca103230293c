/**
 * An agent behind a firewall, a gateway before it: three network namespaces of the kernel that know of nothing else.
 *
 *     agent 10.213.1.2 ── wall (passes the gateway's public port alone, for those who dial out) ── gateway 10.213.2.2
 *
 * Nothing of it touches the machine's own network. It needs root and `ip`.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

export const gatewayHost = "10.213.2.2";
export const agentHost = "10.213.1.2";
export const publicPort = 4646;

export type Side = "agent" | "gateway";
/** Which packets are lost: those that the agent sends, or those that are sent to it. */
export type Direction = "from agent" | "to agent";

export interface Firewall extends Disposable {
  /** What runs a program on that side: a command line without its program. */
  readonly on: (side: Side) => readonly string[];
  /** Takes the link between wall and agent down; nobody is told. */
  readonly cut: () => void;
  readonly mend: () => void;
  /** Loses all packets of one direction, silently. */
  readonly lose: (direction: Direction) => void;
  readonly pass: (direction: Direction) => void;
}

const prefix = "serai-";

const run = (...argv: readonly string[]): { readonly ok: boolean; readonly words: string } => {
  const { status, stdout, stderr, error } = spawnSync("ip", argv, { encoding: "utf8" });
  return { ok: status === 0, words: error?.message ?? `${stdout}${stderr}` };
};

const ip = (...argv: readonly string[]): string => {
  const { ok, words } = run(...argv);
  assert.ok(ok, `ip ${argv.join(" ")}: ${words}`);
  return words;
};

/** Why there can be none here; undefined when there can. */
export const whyNoFirewall = (): string | undefined => {
  if (process.platform !== "linux") return "network namespaces are Linux's own";
  if (process.getuid?.() !== 0) return "network namespaces need root: sudo npm test";
  const { ok, words } = run("netns", "list");
  return ok
    ? undefined
    : `network namespaces need the program ip: apt-get install iproute2 (${words})`;
};

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
};

const namespaces = (): readonly string[] =>
  ip("netns", "list")
    .split("\n")
    .map((line) => line.split(" ")[0] ?? "")
    .filter((name) => name.startsWith(prefix));

/** With what runs inside: its veth pairs go with it. */
const remove = (name: string): void => {
  for (const pid of run("netns", "pids", name).words.split("\n").map(Number))
    if (pid > 0 && isAlive(pid)) process.kill(pid, "SIGKILL");
  run("netns", "del", name);
};

/** What test processes that are no more have left behind. */
const sweep = (): void => {
  for (const name of namespaces()) if (!isAlive(Number(name.split("-")[1]))) remove(name);
};

let made = 0;

const build = (wall: string, agent: string, gateway: string): void => {
  for (const name of [wall, agent, gateway]) ip("netns", "add", name);
  const ends = [
    ["agent", agent, "10.213.1.1", agentHost],
    ["gateway", gateway, "10.213.2.1", gatewayHost],
  ] as const;
  for (const [side, name, near, far] of ends) {
    ip("link", "add", side, "netns", wall, "type", "veth", "peer", "name", "eth0", "netns", name);
    ip("-n", wall, "addr", "add", `${near}/30`, "dev", side);
    ip("-n", wall, "link", "set", side, "up");
    ip("-n", name, "addr", "add", `${far}/30`, "dev", "eth0");
    ip("-n", name, "link", "set", "lo", "up");
    ip("-n", name, "link", "set", "eth0", "up");
    ip("-n", name, "route", "add", "default", "via", near);
  }
};

/** Each packet is looked up by what it is, and what no rule names is dropped: a packet filter that every kernel has. */
const wallOff = (wall: string): void => {
  const rule = (...words: readonly string[]): string => ip("-n", wall, "rule", "add", ...words);
  const port = String(publicPort);
  rule("pref", "10", "iif", "agent", "ipproto", "tcp", "dport", port, "to", gatewayHost, "lookup", "main");
  rule("pref", "11", "iif", "agent", "blackhole");
  rule("pref", "12", "iif", "gateway", "ipproto", "tcp", "sport", port, "from", gatewayHost, "lookup", "main");
  rule("pref", "13", "iif", "gateway", "blackhole");
  ip("netns", "exec", wall, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward");
}; // biome-ignore format: rules

/** Removed with its end, or the process's; what a killed process leaves is removed by the next one. */
export const openFirewall = (): Firewall => {
  sweep();
  const name = (part: string): string => `${prefix}${process.pid}-${made}-${part}`;
  made += 1;
  const [wall, agent, gateway] = [name("wall"), name("agent"), name("gateway")];
  const close = (): void => {
    process.off("exit", close);
    for (const one of [agent, gateway, wall]) remove(one);
  };
  process.on("exit", close);
  build(wall, agent, gateway);
  wallOff(wall);
  const lost = (direction: Direction): readonly string[] => [
    "pref", "5", "iif", direction === "from agent" ? "agent" : "gateway", "blackhole",
  ]; // biome-ignore format: a rule
  return {
    on: (side) => ["ip", "netns", "exec", side === "agent" ? agent : gateway],
    cut: () => void ip("-n", wall, "link", "set", "agent", "down"),
    mend: () => void ip("-n", wall, "link", "set", "agent", "up"),
    lose: (direction) => void ip("-n", wall, "rule", "add", ...lost(direction)),
    pass: (direction) => void ip("-n", wall, "rule", "del", ...lost(direction)),
    [Symbol.dispose]: close,
  };
};

/* ---- what a process sees of its network ---- */

const listening = "0A";
const established = "01";

interface TcpSocket {
  readonly localPort: number;
  readonly remotePort: number;
  readonly state: string;
}

const portOf = (address = ""): number => Number.parseInt(address.split(":")[1] ?? "", 16);

/** All TCP sockets in the namespace of a process. */
const socketsAround = (pid: number): readonly TcpSocket[] =>
  ["tcp", "tcp6"].flatMap((kind) =>
    readFileSync(`/proc/${pid}/net/${kind}`, "utf8")
      .trimEnd()
      .split("\n")
      .slice(1)
      .map((line) => {
        const [, local, remote, state = ""] = line.trim().split(/\s+/);
        return { localPort: portOf(local), remotePort: portOf(remote), state };
      }),
  );

/** Ports that anything listens on in the namespace of a process. */
export const listeningAround = (pid: number): readonly number[] =>
  socketsAround(pid)
    .filter(({ state }) => state === listening)
    .map(({ localPort }) => localPort);

/** Connections to that port that its side takes for alive. */
export const connectionsAround = (pid: number, port: number): number =>
  socketsAround(pid).filter(
    ({ state, localPort, remotePort }) =>
      state === established && (localPort === port || remotePort === port),
  ).length;

const dial = `const net = require("node:net");
for (const port of process.argv.slice(2)) {
  const socket = net.connect({ host: process.argv[1], port, timeout: 300 });
  const said = (word) => { console.log(port, word); socket.destroy(); };
  socket.once("connect", () => said("open")).once("timeout", () => said("silent")).once("error", ({ code }) => said(code));
}`;

/** How each port of a host answers who dials from that side: `open`, `silent`, or an error's code. */
export const dialled = (
  firewall: Firewall,
  side: Side,
  host: string,
  ports: readonly number[],
): ReadonlyMap<number, string> => {
  const [file = "", ...argv] = firewall.on(side);
  const { stdout, stderr, status } = spawnSync(
    file,
    [...argv, process.execPath, "-e", dial, host, ...ports.map(String)],
    { encoding: "utf8" },
  );
  assert.equal(status, 0, stderr);
  return new Map(
    stdout
      .trimEnd()
      .split("\n")
      .map((line) => line.split(" "))
      .map(([port = "", word = ""]) => [Number(port), word]),
  );
};
