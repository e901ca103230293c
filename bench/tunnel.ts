/**
 * The tunnel bench: what a request costs through a tunnel, beside the same request to an agent that is dialled and beside a
 * bare relay; a long and narrow path; and readers that stop. docs/benchmark.md explains it. `--json` prints one JSON line at
 * the end, `--rounds N` changes their number, `--only small,bulk,path,stopped` leaves parts out, `--cpu-prof` writes
 * a profile of the gateway.
 */
import { availableParallelism, cpus, loadavg } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { bringTools } from "../scripts/tools.ts";
import { meter, type Processes } from "./lib/cpu.ts";
import { downloaded, drivers, latencies, load } from "./lib/drive.ts";
import { quantile } from "./lib/median.ts";
import { rssKib } from "./lib/memory.ts";
import { stopReading } from "./lib/stopped-reader.ts";
import { endTidily } from "./lib/tidy.ts";
import {
  type Carrier,
  type Figures,
  figuresOf,
  type Part,
  type Sample,
  type Stopped,
  tableOf,
  usual,
  type Waits,
} from "./lib/tunnel-figures.ts";
import {
  bulkBytes,
  openSetting,
  pathBytes,
  type Reached,
  type Setting,
  type Shape,
  ways,
} from "./lib/tunnel-setting.ts";

endTidily();

const { values: flags } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    rounds: { type: "string", default: "5" },
    only: { type: "string", default: "small,bulk,path,stopped" },
    "cpu-prof": { type: "boolean", default: false },
  },
});

const rounds = Number(flags.rounds);
const parts = flags.only.split(",");
const requests = 1_000;
const concurrencies = [8, 32] as const;
const shape: Shape = { mbitPerSecond: 100, roundTripMs: 50 };
const stoppedReaders = 20;
const stoppedRounds = 3;
/** Since the start: a busy machine gets fewer rounds. */
const untilMs = { small: 90_000, bulk: 200_000, path: 270_000 };
const leastRounds = 2;
const pathRounds = 3;
/** For what has been asked for to be where it stays. */
const settleMs = 2_000;

type Carriers = ReadonlyMap<Carrier, Reached>;

const say = (words: string): void => console.error(words);

const processesOf = ({ gateway, agent, connector }: Reached): Processes<Part> => ({
  gateway: [gateway],
  agent: [agent],
  connector: connector === undefined ? [] : [connector],
});

const filePath = ({ allocation }: Reached, name: "bulk" | "path"): string =>
  `/v1/client/fs/cat/${allocation}?path=/alloc/data/${name}.bin`;
const statUrl = ({ origin, allocation }: Reached): string =>
  `${origin}/v1/client/fs/stat/${allocation}?path=/alloc/data/bulk.bin`;

const small = async (
  { token }: Setting,
  [carrier, reached]: [Carrier, Reached],
  connections: number,
): Promise<Sample> => {
  const given = { urls: [statUrl(reached)], token, connections, requests };
  const used = await meter(processesOf(reached), () => load(given));
  return { ...used, what: "stat", connections, carrier, amount: requests };
};

const smallRound = async (setting: Setting, carriers: Carriers): Promise<Sample[]> => {
  const samples: Sample[] = [];
  for (const connections of concurrencies)
    for (const one of carriers) samples.push(await small(setting, one, connections));
  return samples;
};

const download = (
  { token, hashes }: Setting,
  [carrier, reached]: [Carrier, Reached],
  name: "bulk" | "path",
): Promise<Sample> =>
  downloaded(
    { url: reached.origin + filePath(reached, name), token, hash: hashes[name] },
    async (fetched) => ({
      ...(await meter(processesOf(reached), fetched)),
      what: name === "bulk" ? "cat, 1 GiB" : "cat, 64 MiB, long path",
      connections: 1,
      carrier,
      amount: (name === "bulk" ? bulkBytes : pathBytes) / 2 ** 30,
    }),
  );

const downloads = async (
  setting: Setting,
  carriers: Carriers,
  name: "bulk" | "path",
): Promise<Sample[]> => {
  const samples: Sample[] = [];
  for (const one of carriers) samples.push(await download(setting, one, name));
  return samples;
};

/** As many rounds as were asked for, unless the time is up before: at least two. The first of all warms up. */
const inRounds = async (
  what: keyof typeof untilMs,
  most: number,
  round: () => Promise<Sample[]>,
): Promise<Sample[]> => {
  say(`warming up: ${what}`);
  await round();
  const samples: Sample[] = [];
  let longestMs = 0;
  for (let nth = 1; nth <= most; nth++) {
    const startedMs = performance.now();
    if (nth > leastRounds && startedMs + longestMs > untilMs[what]) {
      say(`the time is up: no more rounds of ${what}`);
      break;
    }
    say(`round ${nth} of ${most}: ${what}`);
    samples.push(...(await round()));
    longestMs = Math.max(longestMs, performance.now() - startedMs);
  }
  return samples;
};

/* ---- the long and narrow path ---- */

/** What the path itself lets through, in megabits a second. */
const pathMbit = async (setting: Setting): Promise<number> => {
  const url = await setting.plain(shape);
  const wallMs = await downloaded(
    { url, token: "none", hash: setting.hashes.path },
    async (get) => {
      const startedMs = performance.now();
      await get();
      return performance.now() - startedMs;
    },
  );
  return (pathBytes * 8) / 1_000 / wallMs;
};

/* ---- readers that stop ---- */

const rssMb = (pid: number): number => rssKib(pid) / 1_024;

const rssOf = ({ gateway, agent, connector }: Reached): Waits["rssMb"] => ({
  gateway: rssMb(gateway),
  agent: rssMb(agent),
  connector: connector === undefined ? 0 : rssMb(connector),
});

/** Small requests without such readers and beside them, in turns. */
const stopped = async (
  setting: Setting,
  [carrier, reached]: [Carrier, Reached],
): Promise<Stopped> => {
  const given = { urls: [statUrl(reached)], token: setting.token, connections: 8, requests };
  const look = async (): Promise<Waits> => {
    await delay(settleMs);
    const took = await latencies(given);
    return { p50Ms: quantile(took, 0.5), p99Ms: quantile(took, 0.99), rssMb: rssOf(reached) };
  };
  await latencies(given); // warms up
  const without: Waits[] = [];
  const beside: Waits[] = [];
  for (let nth = 0; nth < stoppedRounds; nth++) {
    without.push(await look());
    const readers = await Promise.all(
      Array.from({ length: stoppedReaders }, () =>
        stopReading(reached.origin + filePath(reached, "bulk"), setting.token),
      ),
    );
    beside.push(await look());
    for (const reader of readers) reader.destroy();
  }
  return {
    carrier,
    readers: stoppedReaders,
    without: usual(without, "first"),
    with: usual(beside, "most"),
  };
};

/* ---- all of it ---- */

const measure = async (setting: Setting): Promise<Figures> => {
  const direct = await setting.reached("direct");
  const carriers: Carriers = new Map<Carrier, Reached>([
    ["bare", await setting.bare(direct)],
    ["direct", direct],
    ["tunnel", await setting.reached("tunnel")],
    ["connector", await setting.reached("connector")],
  ]);
  const samples: Sample[] = [];
  if (parts.includes("small"))
    samples.push(...(await inRounds("small", rounds, () => smallRound(setting, carriers))));
  if (parts.includes("bulk"))
    samples.push(...(await inRounds("bulk", rounds, () => downloads(setting, carriers, "bulk"))));
  let mbit = Number.NaN;
  if (parts.includes("path")) {
    mbit = await pathMbit(setting);
    const far: Carriers = new Map(
      await Promise.all(
        ways.map(async (way) => [way, await setting.reached(way, setting.shaped(shape))] as const),
      ),
    );
    const round = () => downloads(setting, far, "path");
    samples.push(...(await inRounds("path", Math.min(rounds, pathRounds), round)));
  }
  const halted: Stopped[] = [];
  if (parts.includes("stopped")) {
    say(`${stoppedReaders} readers that stop`);
    for (const one of carriers) if (one[0] !== "bare") halted.push(await stopped(setting, one));
  }
  return figuresOf(samples, halted, mbit);
};

const main = async (): Promise<void> => {
  const machine = {
    cores: availableParallelism(),
    cpu: cpus()[0]?.model ?? "",
    load: loadavg()[0]?.toFixed(1) ?? "",
    node: process.version,
  };
  say("starting a gateway and its agents");
  await using setting = await openSetting(flags["cpu-prof"] ? ["--cpu-prof"] : []);
  const figures = await measure(setting);
  const { cores, cpu, load: before, node } = machine;
  console.log(`Node ${node}, ${cores} cores (${cpu}), load ${before} before the run
${requests} requests a sample; every byte by SHA-256; no request failed

${tableOf(figures)}`);
  if (flags.json) console.log(JSON.stringify({ machine, requests, ...figures }));
};

if (!(rounds >= 1)) {
  console.error("--rounds must be a number from 1.");
  process.exitCode = 2;
} else if (bringTools(drivers, "The tunnel bench cannot run")) await main();
else process.exitCode = 2;
