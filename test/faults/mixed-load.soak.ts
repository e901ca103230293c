/**
 * Ten minutes of mixed load on a gateway whose agents are killed, stopped and come back elsewhere, whose tunnels are cut
 * and swallowed, whose stdout is not read and whose files are read again: no wrong byte, no failure that the fault of
 * that moment does not explain, and in the end as much memory and as many files as after the first minutes. Sessions in
 * which nothing happens live through all of it.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { connect, createServer, type Socket } from "node:net";
import { test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { Agent, request } from "undici";
import { median } from "../support/latency.ts";
import { openFiles, probe, probed, residentMib } from "../support/probe.ts";
import { createHome, type GatewayProgram, type Program, until } from "../support/processes.ts";
import { figures } from "../support/siege.ts";
import { execClient } from "../support/ws-client.ts";

/** A shorter run is for whoever changes this file. */
const seconds = Number(process.env["SOAK_SECONDS"] ?? 600);
const lines = 200_000;
const file = Array.from({ length: lines }, (_, at) => `${at + 1}\n`).join("");
const fileHash = createHash("sha256").update(file).digest("hex");

const script = `
  seq 1 ${lines} > $NOMAD_TASK_DIR/new && mv $NOMAD_TASK_DIR/new $NOMAD_TASK_DIR/big
  n=0
  while sleep 0.05; do n=$((n+1)); echo $n; done
`;

/** A way for a tunnel that can be cut, or swallow what it is given. */
const startRelay = async (port: number) => {
  const pairs = new Set<readonly [Socket, Socket]>();
  let isHeld = false;
  const server = createServer((near) => {
    const far = connect(port, "127.0.0.1");
    const pair = [near, far] as const;
    pairs.add(pair);
    for (const [one, other] of [pair, [far, near] as const]) {
      one.on("error", () => undefined);
      one.once("close", () => {
        pairs.delete(pair);
        other.destroy();
      });
      one.on("data", (chunk: Buffer) => {
        if (!isHeld) other.write(chunk);
      });
    }
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const at = server.address();
  assert.ok(typeof at === "object" && at !== null);
  return {
    url: `http://127.0.0.1:${at.port}`,
    hold: (held: boolean): void => {
      isHeld = held;
    },
    reset: (): void => {
      for (const [near, far] of pairs) {
        near.resetAndDestroy();
        far.resetAndDestroy();
      }
    },
    close: (): void => {
      server.close();
      for (const [near] of pairs) near.destroy();
    },
  };
};

interface Fault {
  readonly name: string;
  /** Whom it may hurt; the others not. */
  readonly agents: readonly string[];
  readonly fromMs: number;
  untilMs: number;
}

interface Failure {
  readonly agent: string;
  readonly what: string;
  readonly why: string;
  readonly fromMs: number;
  readonly untilMs: number;
}

/** What a node that is away may be told to be. */
const explained =
  /^(?:node_unreachable|upstream_broke|upstream_timeout|upstream_invalid|overloaded|no_path_to_node|unknown_allocation|registry_unavailable|cut|closed 10(?:08|11|13|14))$/;

class Refused extends Error {}

test(`${seconds} s of mixed load with faults: nothing wrong, nothing unexplained, nothing left`, {
  timeout: (seconds + 240) * 1_000,
}, async (t) => {
  await using home = createHome();
  const token = home.secrets.operator;
  const headers = { "x-nomad-token": token };
  const gateway: GatewayProgram = await home.gateway(
    {
      timeouts: { first_byte: "3s" },
      node: { down_after: "10s" },
      log: { lines_per_second: 1_000 },
      audit: { output: "/dev/null" },
    },
    { node: probed(home.directory) },
  );
  const relay = await startRelay(gateway.port);
  const agents = new Map<string, Program>();
  const allocations = new Map<string, string>();

  const start = async (name: string): Promise<void> => {
    const address = name === "tunnel-cut" ? relay.url : gateway.url;
    const task = { name: "main", command: "/bin/sh", args: ["-c", script], kill_timeout: "1s" };
    const settings = {
      gateway: { tunnel: name.startsWith("tunnel") },
      workloads: [{ job: name, group: "main", tasks: [task] }],
    };
    agents.set(name, await home.agent(name, address, settings, { patienceMs: 60_000 }));
    await until(
      `${name} serves its file`,
      async () => {
        const list: unknown = await (
          await fetch(`${gateway.url}/v1/allocations`, { headers })
        ).json();
        assert.ok(Array.isArray(list));
        const found = list.find((one) => one.JobID === name && one.ClientStatus === "running");
        if (found === undefined) return undefined;
        allocations.set(name, String(found.ID));
        const target = `/v1/client/fs/stat/${found.ID}?path=/main/local/big`;
        return (await (await fetch(`${gateway.url}${target}`, { headers })).text()).includes(
          `"Size":${file.length}`,
        );
      },
      60_000,
    );
  };
  const names = ["direct-killed", "direct-calm", "tunnel-cut", "tunnel-calm"];
  for (const name of names) await start(name);

  /* ---- load ---- */

  const dispatcher = new Agent({ connections: 64 });
  const failures: Failure[] = [];
  const wrong: string[] = [];
  const done = new Map<string, number>();
  let isOver = false;

  const get = async (target: string) => {
    const reply = await request(`${gateway.url}${target}`, { headers, dispatcher });
    if (reply.statusCode === 200) return reply.body;
    await reply.body.dump();
    throw new Refused(String(reply.headers["x-serai-error"]));
  };
  const id = (agent: string): string => allocations.get(agent) ?? "";
  const small = async (agent: string): Promise<void> => {
    const body = await (await get(`/v1/client/fs/ls/${id(agent)}?path=/main/local`)).text();
    if (!body.includes('"big"')) wrong.push(`ls of ${agent}: ${body.slice(0, 200)}`);
  };
  const download = async (agent: string): Promise<void> => {
    const hash = createHash("sha256");
    for await (const chunk of await get(`/v1/client/fs/cat/${id(agent)}?path=/main/local/big`))
      hash.update(chunk);
    if (hash.digest("hex") !== fileHash) wrong.push(`the file of ${agent}`);
  };
  /** Lines follow one another, but for a task that was started anew. */
  const follow = async (agent: string): Promise<void> => {
    const untilMs = performance.now() + 5_000;
    const target = `/v1/client/fs/logs/${id(agent)}?task=main&type=stdout&follow=true&plain=true`;
    let last: number | undefined;
    let text = "";
    const read = (chunk: string): void => {
      const whole = `${text}${chunk}`.split("\n");
      text = whole.pop() ?? "";
      for (const line of whole) {
        const next = Number(line);
        if (last !== undefined && next !== last + 1 && next !== 1)
          wrong.push(`${next} after ${last} in the log of ${agent}`);
        last = next;
      }
    };
    for await (const chunk of await get(target)) {
      read(String(chunk));
      if (performance.now() > untilMs || isOver) return; // which destroys it
    }
    throw new Refused("cut"); // a log that goes on has no end
  };
  let words = 0;
  const command = async (agent: string): Promise<void> => {
    const said = `words-${++words}`;
    const client = execClient({
      url: gateway.url, allocation: id(agent), task: "main", token, command: ["/bin/sh", "-c", `echo ${said}; exit 7`],
    }); // biome-ignore format: a row
    const { code } = await client.closed;
    if (code !== 1000) throw new Refused(`closed ${code}`);
    if (client.exitCode() !== 7 || client.output("stdout").toString() !== `${said}\n`)
      wrong.push(`exec at ${agent}: ${client.output("stdout")} and ${client.exitCode()}`);
  };
  const kinds = { small, download, follow, command } as const;

  const caller = async (
    what: keyof typeof kinds,
    agent: string,
    pauseMs: number,
  ): Promise<void> => {
    while (!isOver) {
      const fromMs = performance.now();
      try {
        await kinds[what](agent);
        done.set(what, (done.get(what) ?? 0) + 1);
      } catch (error) {
        const why = error instanceof Refused ? error.message : "cut";
        failures.push({ agent, what, why, fromMs, untilMs: performance.now() });
      }
      await wait(pauseMs);
    }
  };

  /* ---- sessions in which nothing happens ---- */

  const idleShell = async (agent: string) => {
    const client = execClient({
      url: gateway.url, allocation: id(agent), task: "main", token, command: ["cat"],
    }); // biome-ignore format: a row
    await client.opened;
    return {
      wakes: async (): Promise<void> => {
        client.stdin("still here\n");
        await client.seen("still here\n");
        client.closeStdin();
        assert.deepEqual([(await client.closed).code, client.exitCode()], [1000, 0], agent);
      },
    };
  };
  /** Nothing is written to this log: all that comes are beats. */
  const idleFollow = async (agent: string) => {
    const target = `/v1/client/fs/logs/${id(agent)}?task=main&type=stderr&follow=true`;
    const body = await get(target);
    let [beats, lastMs, longestMs] = [0, performance.now(), 0];
    const heard = (): void => {
      longestMs = Math.max(longestMs, performance.now() - lastMs);
      lastMs = performance.now();
    };
    body.on("error", () => undefined); // it is destroyed in the end
    body.on("data", (chunk: Buffer) => {
      beats += String(chunk).split("{}").length - 1;
      heard();
    });
    return {
      wakes: (): void => {
        heard();
        t.diagnostic(
          `idle follow of ${agent}: ${beats} beats, at most ${longestMs.toFixed(0)} ms apart`,
        );
        assert.equal(body.closed, false, `the idle follow of ${agent} has ended`);
        assert.ok(longestMs < 10_000, `${longestMs} ms without a beat of ${agent}`);
      },
    };
  };
  const idle = [];
  for (const agent of names.filter((name) => name.endsWith("-calm")))
    idle.push(await idleShell(agent), await idleFollow(agent));

  const callers = names.flatMap((agent) => [
    caller("small", agent, 20), caller("small", agent, 20), caller("download", agent, 200), caller("follow", agent, 50), caller("command", agent, 500),
  ]); // biome-ignore format: a table

  /* ---- faults ---- */

  const faults: Fault[] = [];
  const during = async (
    name: string,
    hurt: readonly string[],
    work: () => Promise<void>,
  ): Promise<void> => {
    const fault: Fault = {
      name,
      agents: hurt,
      fromMs: performance.now(),
      untilMs: Number.POSITIVE_INFINITY,
    };
    faults.push(fault);
    await work();
    fault.untilMs = performance.now() + 5_000; // a circuit tries again, a tunnel is dialled again
  };
  const kill = async (name: string, awayMs: number): Promise<void> => {
    const agent = agents.get(name);
    agent?.kill("SIGKILL");
    await agent?.ended;
    await wait(awayMs);
    await start(name);
  };
  const rounds: readonly (() => Promise<void>)[] = [
    () => during("killed, back at another address", ["direct-killed"], () => kill("direct-killed", 500)),
    () => during("tunnel reset", ["tunnel-cut"], async () => { relay.reset(); await wait(2_000); }),
    () => during("tunnel swallowed", ["tunnel-cut"], async () => { relay.hold(true); await wait(25_000); relay.hold(false); relay.reset(); await wait(5_000); }),
    () => during("stdout not read", [], async () => { gateway.child.stdout?.pause(); await wait(10_000); gateway.child.stdout?.resume(); }),
    () => during("half of the agents dead", ["direct-killed", "tunnel-cut"], async () => { await Promise.all([kill("direct-killed", 5_000), kill("tunnel-cut", 5_000)]); }),
    () => during("stopped", ["direct-killed"], async () => { agents.get("direct-killed")?.kill("SIGSTOP"); await wait(6_000); agents.get("direct-killed")?.kill("SIGCONT"); }),
    () => during("settings read again", [], async () => { gateway.kill("SIGHUP"); await wait(1_000); }),
  ]; // biome-ignore format: a table

  const samples: { readonly rss: number; readonly files: number }[] = [];
  const sampler = setInterval(
    () => samples.push({ rss: residentMib(gateway.pid), files: openFiles(gateway.pid) }),
    500,
  );
  /** What its heap holds under load after collections, in MiB; what is under way makes it more now and then. */
  const held: { readonly mib: number; readonly atMs: number }[] = [];
  const lookAtHeap = async (): Promise<void> => {
    const looks: number[] = [];
    for (let nth = 0; nth < 4; nth++) {
      looks.push((await probe(gateway)).heldMib);
      await wait(500); // a collection stops the gateway for a moment, which is nobody's excuse
    }
    held.push({ mib: Math.min(...looks), atMs: performance.now() });
  };
  const begunMs = performance.now();
  const endMs = begunMs + seconds * 1_000;
  try {
    for (let nth = 0; performance.now() < endMs; nth++) {
      await rounds[nth % rounds.length]?.();
      await wait(3_000);
      if (performance.now() > begunMs + (seconds * 1_000 * (held.length + 1)) / 4)
        await lookAtHeap();
    }
    await lookAtHeap();
    for (const one of idle) await one.wakes();
  } finally {
    isOver = true;
    clearInterval(sampler);
    await Promise.all(callers);
    await dispatcher.destroy();
    relay.close();
  }

  /* ---- what came of it ---- */

  const quarter = (nth: number) =>
    samples.slice((samples.length * (nth - 1)) / 4, (samples.length * nth) / 4);
  const rss = (nth: number): number => median(quarter(nth).map((one) => one.rss));
  const files = (nth: number): number => median(quarter(nth).map((one) => one.files));
  const perHour = ((rss(4) - rss(2)) / (seconds / 2)) * 3_600;
  t.diagnostic(
    `${[...done].map(([what, count]) => `${count} × ${what}`).join(", ")}; ${faults.length} faults`,
  );
  t.diagnostic(
    `RSS of the quarters: ${[1, 2, 3, 4].map((nth) => rss(nth).toFixed(1)).join(", ")} MiB (${perHour.toFixed(1)} MiB an hour); files ${[1, 2, 3, 4].map(files).join(", ")}`,
  );
  const [early, late] = [held[0], held.at(-1)];
  assert.ok(early !== undefined && late !== undefined);
  const heldMore = late.mib - early.mib;
  t.diagnostic(
    `held by its heap: ${held.map(({ mib }) => mib.toFixed(2)).join(", ")} MiB (${((heldMore / (late.atMs - early.atMs)) * 3_600_000).toFixed(2)} MiB an hour)`,
  );
  const byWord = Map.groupBy(failures, ({ what, why }) => `${what}: ${why}`);
  for (const [word, list] of byWord) t.diagnostic(`${list.length} × ${word}`);
  assert.deepEqual(wrong, []);
  const unexplained = failures.filter(({ agent, why, fromMs, untilMs }) => {
    const isInFault = faults.some(
      (one) => one.agents.includes(agent) && fromMs < one.untilMs && untilMs > one.fromMs,
    );
    return !(isInFault && explained.test(why));
  });
  assert.deepEqual(unexplained.slice(0, 5), [], `${unexplained.length} unexplained`);
  for (const what of Object.keys(kinds)) assert.ok((done.get(what) ?? 0) > 0, what);
  assert.ok(rss(4) - rss(2) < 24, "memory is flat");
  assert.ok(heldMore < 4, `its heap holds ${heldMore} MiB more`);
  assert.ok(files(4) - files(2) < 24, "files are flat");
  await until("nothing is live", async () => {
    const now = await figures(gateway);
    return now.get("serai_live_exchanges") === 0 && (now.get("serai_open_sockets") ?? 99) <= 16;
  });
  assert.equal(gateway.child.exitCode, null);
  assert.deepEqual(gateway.errors, []);
  assert.deepEqual(
    gateway.output.filter((line) => line.includes('"level":"error"')).slice(0, 3),
    [],
  );
});
