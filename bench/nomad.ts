/**
 * The Nomad bench: what the same requests cost in CPU through a Nomad server and through serai, side by side in one run,
 * against the real Nomad that NOMAD_BIN names. docs/benchmark.md explains it. `--json` prints one JSON line at the end,
 * `--rounds N` changes their number, `--cpu-prof` writes a profile of the gateway.
 */
import { spawnSync } from "node:child_process";
import { availableParallelism, cpus, loadavg } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { bringTools } from "../scripts/tools.ts";
import { nomadBinary } from "../test/support/nomad-cluster.ts";
import { meter, type Used } from "./lib/cpu.ts";
import { downloadHash, drivers, load } from "./lib/drive.ts";
import { figuresOf, type Sample, tableOf } from "./lib/nomad-figures.ts";
import { bulkBytes, openSetting, type Part, type Setting, type Way } from "./lib/nomad-setting.ts";
import { endTidily } from "./lib/tidy.ts";

endTidily();

const { values: flags } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    rounds: { type: "string", default: "5" },
    "cpu-prof": { type: "boolean", default: false },
  },
});

const rounds = Number(flags.rounds);
const requests = 800;
const concurrencies = [8, 32] as const;
const idleMs = 1_000;
/** After a load, before an idle second is measured: what it left to collect is collected. */
const settleMs = 300;
/** Since the start: a busy machine gets fewer rounds, for the whole to end within four minutes. */
const smallUntilMs = 100_000;
const bulkUntilMs = 235_000;
const leastRounds = 2;
const ways = ["server", "serai"] as const satisfies readonly Way[];

const operations: Readonly<Record<string, (id: string) => string>> = {
  ls: (id) => `/v1/client/fs/ls/${id}?path=/alloc/data`,
  stat: (id) => `/v1/client/fs/stat/${id}?path=/alloc/data/hello.txt`,
  cat: (id) => `/v1/client/fs/cat/${id}?path=/alloc/data/hello.txt`,
  "alloc stats": (id) => `/v1/client/allocation/${id}/stats`,
};
/** Their answers do not change, so that both ways must give the same. */
const steady = ["ls", "stat", "cat"] as const;
const filePath = (id: string | undefined, name: string): string =>
  `/v1/client/fs/cat/${id}?path=/alloc/data/${name}`;

const say = (words: string): void => console.error(words);

const textOf = async (url: string, token: string): Promise<string> => {
  const answer = await fetch(url, { headers: { "x-nomad-token": token } });
  const text = await answer.text();
  if (answer.status !== 200) throw new Error(`${url}: ${answer.status} ${text}`);
  return text;
};

/** Throws when the two ways do not answer alike. */
const compareAnswers = async ({ allocations, origins, token }: Setting): Promise<void> => {
  for (const id of allocations)
    for (const name of steady) {
      const path = operations[name]?.(id) ?? "";
      const [one, other] = [
        await textOf(origins.server + path, token),
        await textOf(origins.serai + path, token),
      ];
      if (one !== other) throw new Error(`${name} differs:\n${one}\n${other}`);
    }
};

/** One round of small requests: every operation at each concurrency, by the one way and then the other. */
const smallRound = async (setting: Setting): Promise<Sample[]> => {
  const { allocations, origins, processes, token } = setting;
  const samples: Sample[] = [];
  for (const [what, pathOf] of Object.entries(operations))
    for (const connections of concurrencies)
      for (const way of ways) {
        const urls = allocations.map((id) => origins[way] + pathOf(id));
        const used = await meter(processes, () => load({ urls, token, connections, requests }));
        samples.push({ ...used, what, way, connections, amount: requests });
      }
  return samples;
};

const bulkRound = async (setting: Setting): Promise<Sample[]> => {
  const { allocations, origins, processes, token, bulkHash } = setting;
  const samples: Sample[] = [];
  for (const way of ways) {
    const url = origins[way] + filePath(allocations[0], "bulk.bin");
    const used = await meter(processes, () => downloadHash(url, token));
    if (used.result !== bulkHash) throw new Error(`by ${way} other bytes came: ${used.result}`);
    const amount = bulkBytes / 2 ** 30;
    samples.push({ ...used, what: "cat, 1 GiB", way, connections: 1, amount });
  }
  return samples;
};

const idleSecond = async ({ processes }: Setting): Promise<Used<Part>> => {
  await delay(settleMs);
  return meter(processes, () => delay(idleMs));
};

const warmUp = async (setting: Setting): Promise<void> => {
  await compareAnswers(setting);
  await smallRound(setting);
  for (const way of ways)
    await downloadHash(
      setting.origins[way] + filePath(setting.allocations[0], "warm.bin"),
      setting.token,
    );
};

/** As many rounds as were asked for, unless the time is up before: at least two. */
const inRounds = async (
  what: string,
  untilMs: number,
  round: () => Promise<void>,
): Promise<void> => {
  let longestMs = 0;
  for (let nth = 1; nth <= rounds; nth++) {
    const startedMs = performance.now();
    if (nth > leastRounds && startedMs + longestMs > untilMs)
      return say(`the time is up: no more rounds of ${what}`);
    say(`round ${nth} of ${rounds}: ${what}`);
    await round();
    longestMs = Math.max(longestMs, performance.now() - startedMs);
  }
};

const measure = async (setting: Setting) => {
  const idles: Used<Part>[] = [];
  const small: Sample[] = [];
  const bulk: Sample[] = [];
  say("warming up");
  await warmUp(setting);
  await inRounds("small requests", smallUntilMs, async () => {
    idles.push(await idleSecond(setting));
    small.push(...(await smallRound(setting)));
  });
  await inRounds("1 GiB", bulkUntilMs, async () => {
    idles.push(await idleSecond(setting));
    bulk.push(...(await bulkRound(setting)));
  });
  return figuresOf(idles, { small, bulk });
};

const machineOf = (binary: string) => ({
  cores: availableParallelism(),
  cpu: cpus()[0]?.model ?? "",
  load: loadavg()[0]?.toFixed(1) ?? "",
  node: process.version,
  nomad: spawnSync(binary, ["version"], { encoding: "utf8" }).stdout.split("\n")[0] ?? "",
});

const main = async (binary: string): Promise<void> => {
  const machine = machineOf(binary);
  say("starting a Nomad server, two clients and serai");
  await using setting = await openSetting(flags["cpu-prof"] ? ["--cpu-prof"] : []);
  const figures = await measure(setting);
  const { cores, cpu, load: before, node, nomad } = machine;
  console.log(`${nomad}, Node ${node}, ${cores} cores (${cpu}), load ${before} before the run
${requests} requests a sample; same bytes by both ways (1 GiB by its SHA-256); no request failed

${tableOf(figures)}`);
  if (flags.json) console.log(JSON.stringify({ machine, requests, ...figures }));
  if (!figures.serversAtIdle) process.exitCode = 1;
};

if (nomadBinary === undefined) {
  console.error(
    "The Nomad bench needs a real Nomad: NOMAD_BIN=/path/to/nomad npm run bench:nomad. Nothing was measured.",
  );
  process.exitCode = 2;
} else if (!(rounds >= 1)) {
  console.error("--rounds must be a number from 1.");
  process.exitCode = 2;
} else if (bringTools(drivers, "The Nomad bench cannot run")) await main(nomadBinary);
else process.exitCode = 2;
