/** A gateway that is started anew under many agents that dial out, and callers who go on asking meanwhile. */
import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { get } from "node:http";
import path from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { request } from "undici";
import { stringify } from "yaml";
import { z } from "zod";
import { mintJoinToken } from "../../src/acl/secrets.ts";
import { createHome, type GatewayProgram, type Home, until } from "./processes.ts";

const report = z.object({
  nodeId: z.string(),
  atMs: z.number().optional(),
  fault: z.string().optional(),
});

export interface Fleet extends AsyncDisposable {
  readonly home: Home;
  readonly nodes: readonly string[];
  readonly gateway: () => GatewayProgram;
  /** When each node's tunnel was last opened, by the wall clock. */
  readonly openedAtMs: ReadonlyMap<string, number>;
  /** What agents were told loudly. */
  readonly faults: readonly string[];
  /** The sum of the series that begin so, of the gateway that runs now. */
  figure(series: string): Promise<number>;
  /** Ends the gateway with the signal and starts it anew at once: same port, same data. When it ended, and listened again. */
  restart(
    signal: NodeJS.Signals,
  ): Promise<{ readonly endedAtMs: number; readonly listensAtMs: number }>;
  /** Resolves when every agent's tunnel is open at the gateway that runs now. */
  whole(withinMs: number): Promise<void>;
}

const processes = 2;

/** Seconds of processor that a process has used. */
export const cpuSeconds = (pid: number): number => {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
};

/** All tunnels are open when it resolves. */
export const startFleet = async (agents: number): Promise<Fleet> => {
  await using stack = new AsyncDisposableStack();
  const home = stack.use(createHome());
  const join = mintJoinToken({
    node: "*",
    uses: agents,
    createdAtMs: Date.now(),
    expiresAtMs: undefined,
  });
  const joinFile = path.join(home.directory, "join-fleet.yaml");
  writeFileSync(joinFile, stringify({ tokens: [join.entry] }), { mode: 0o600 });
  const nodes = Array.from({ length: agents }, () => randomUUID());
  // they have all joined before: a first claim is written to disk each
  const claims = { [join.entry.SecretHash]: nodes };
  writeFileSync(`${joinFile}.claims`, JSON.stringify({ claims }), { mode: 0o600 });
  const settings = { acl: { join_tokens_file: joinFile } };
  let gateway = await home.gateway(settings);
  const { url, address } = gateway;

  const openedAtMs = new Map<string, number>();
  const faults: string[] = [];
  const children: ChildProcess[] = [];
  stack.defer(async () => {
    await Promise.all(
      children.map(async (child) => {
        if (child.exitCode !== null) return;
        const ended = once(child, "exit");
        child.kill("SIGKILL");
        await ended;
      }),
    );
  });
  for (let nth = 0; nth < processes; nth++) {
    const mine = nodes.filter((_, at) => at % processes === nth);
    const order = { gateway: url, joinToken: join.secret, nodes: mine, spreadMs: agents * 2 };
    const child = fork(path.join(import.meta.dirname, "fleet-process.ts"), [JSON.stringify(order)]);
    child.on("message", (message) => {
      const { nodeId, atMs, fault } = report.parse(message);
      if (atMs !== undefined) openedAtMs.set(nodeId, atMs);
      if (fault !== undefined) faults.push(fault);
    });
    children.push(child);
  }

  const figure = async (series: string): Promise<number> => {
    const { body } = await request(`${gateway.adminUrl}/metrics`);
    const lines = (await body.text()).split("\n").filter((text) => text.startsWith(series));
    assert.ok(lines.length > 0, `${series} is there`);
    return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
  };
  const whole = async (withinMs: number): Promise<void> => {
    const open = 'serai_tunnels{state="open"}';
    await until(`${agents} tunnels`, async () => (await figure(open)) === agents, withinMs);
  };
  await whole(60_000 + agents * 10);
  const saved = path.join(home.directory, "gateway/nodes.json");
  const areSaved = (): boolean => {
    const text = existsSync(saved) ? readFileSync(saved, "utf8") : "";
    return nodes.every((nodeId) => text.includes(nodeId));
  };
  await until("all nodes are on disk", areSaved, 60_000);
  const running = stack.move();
  return {
    home,
    nodes,
    gateway: () => gateway,
    openedAtMs,
    faults,
    figure,
    restart: async (signal) => {
      gateway.kill(signal);
      await gateway.ended;
      const endedAtMs = Date.now();
      gateway = await home.gateway({ ...settings, http: { listen: address } });
      return { endedAtMs, listensAtMs: Date.now() };
    },
    whole,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
};

export interface Asked {
  readonly nodeId: string;
  readonly atMs: number;
  /** 0: the connection broke. */
  readonly status: number;
  readonly text: string;
  readonly tookMs: number;
}

const askOnce = (url: string, token: string): Promise<Pick<Asked, "status" | "text">> =>
  new Promise((resolve) => {
    const sent = get(url, { agent: false, headers: { "x-nomad-token": token } }, (answer) => {
      let text = "";
      answer.setEncoding("utf8").on("data", (chunk: string) => {
        text += chunk;
      });
      answer.once("error", (error) => resolve({ status: 0, text: error.message }));
      answer.once("end", () => resolve({ status: answer.statusCode ?? 0, text }));
    });
    sent.on("error", (error) => resolve({ status: 0, text: error.message }));
  });

const refusedPauseMs = 20;
/** Nobody has taken the connection. */
const notTaken = /^connect ECONN(?:REFUSED|RESET) /;

export interface Callers extends AsyncDisposable {
  /** Stops asking; all that was asked, with what came of it. */
  stop(): Promise<readonly Asked[]>;
}

/** Ask random nodes about themselves, one request after the other each; only a refused connection is tried again. */
export const startCallers = ({ nodes, gateway, home }: Fleet, callers: number): Callers => {
  const all: Asked[] = [];
  let isOver = false;
  const ask = async (): Promise<void> => {
    const nodeId = nodes[Math.floor(Math.random() * nodes.length)] ?? "";
    const target = `${gateway().url}/v1/client/stats?node_id=${nodeId}`;
    const { status, text, atMs } = await (async () => {
      for (;;) {
        const asked = { atMs: Date.now(), ...(await askOnce(target, home.secrets.management)) };
        if (!notTaken.test(asked.text) || isOver) return asked;
        await wait(refusedPauseMs);
      }
    })();
    all.push({ nodeId, atMs, status, text, tookMs: Date.now() - atMs });
  };
  const caller = async (): Promise<void> => {
    while (!isOver) await ask();
  };
  const running = Promise.all(Array.from({ length: callers }, caller));
  const stop = async (): Promise<readonly Asked[]> => {
    isOver = true;
    await running;
    return all;
  };
  return {
    stop,
    [Symbol.asyncDispose]: async () => {
      await stop();
    },
  };
};
