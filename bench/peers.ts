/**
 * The bench: what the same requests cost through serai and through the proxies that a user would pick, side by side in one
 * run. docs/benchmark.md explains it. `--json` prints one JSON line at the end, `--rounds N` changes their number,
 * `--only small,latency,bulk` and `--peers undici,caddy` leave parts and peers out, `--cpu-prof` writes a profile of the gateway.
 */
import { availableParallelism, cpus, loadavg } from "node:os";
import { parseArgs } from "node:util";
import { bringTools } from "../scripts/tools.ts";
import { meter } from "./lib/cpu.ts";
import { downloaded, drivers, latencies, load } from "./lib/drive.ts";
import { quantile } from "./lib/median.ts";
import { figuresOf, type Gate, type Latency, type Sample, tableOf } from "./lib/peer-figures.ts";
import { openPeers, peerNames, peerPrograms } from "./lib/peers.ts";
import { bulkBytes, openSetting, type Setting } from "./lib/tunnel-setting.ts";

const { values: flags } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    rounds: { type: "string", default: "5" },
    only: { type: "string", default: "small,latency,bulk" },
    peers: { type: "string", default: peerNames.join(",") },
    "cpu-prof": { type: "boolean", default: false },
  },
});

const rounds = Number(flags.rounds);
const parts = flags.only.split(",");
const requests = 1_500;
const connections = 8;
/** As many of each kind before anything counts: gateways run for weeks, and V8 compiles what runs for long. */
const warmingRequests = 6_000;
const singles = 1_000;

interface Measured {
  readonly name: Gate;
  readonly origin: string;
  readonly pid: number;
}

const operations: Readonly<Record<string, (id: string) => string>> = {
  ls: (id) => `/v1/client/fs/ls/${id}?path=/alloc/data`,
  stat: (id) => `/v1/client/fs/stat/${id}?path=/alloc/data/bulk.bin`,
  "alloc stats": (id) => `/v1/client/allocation/${id}/stats`,
};
const statPath = (id: string): string => operations["stat"]?.(id) ?? "";
const bulkPath = (id: string): string => `/v1/client/fs/cat/${id}?path=/alloc/data/bulk.bin`;

const say = (words: string): void => console.error(words);

/** In another order each round, so that nobody always follows the same neighbour. */
const turned = <T>(all: readonly T[], by: number): readonly T[] => {
  const at = by % all.length;
  return [...all.slice(at), ...all.slice(0, at)];
};

const measure = async (
  { token, hashes }: Setting,
  allocation: string,
  gates: readonly Measured[],
  agent: string,
) => {
  const samples: Sample[] = [];
  const waits: Latency[] = [];
  const smallRound = async (round: number): Promise<void> => {
    const asked = round === 0 ? warmingRequests : requests;
    for (const [what, pathOf] of Object.entries(operations))
      for (const { name: gate, origin, pid } of turned(gates, round)) {
        const urls = [origin + pathOf(allocation)];
        const used = await meter({ gate: [pid] }, () =>
          load({ urls, token, connections, requests: asked }),
        );
        if (round > 0)
          samples.push({
            what,
            gate,
            round,
            cpuMs: used.cpuMs.gate / asked,
            perSecond: (asked / used.wallMs) * 1_000,
          });
      }
  };
  const latencyRound = async (round: number): Promise<void> => {
    const all = [...gates, { name: "direct", origin: agent } as const];
    for (const { name: gate, origin } of turned(all, round)) {
      const urls = [origin + statPath(allocation)];
      const sorted = await latencies({ urls, token, connections: 1, requests: singles });
      if (round > 0)
        waits.push({
          gate,
          round,
          p50Ms: quantile(sorted, 0.5),
          p99Ms: quantile(sorted, 0.99),
        });
    }
  };
  const bulkRound = async (round: number): Promise<void> => {
    for (const { name: gate, origin, pid } of turned(gates, round)) {
      const used = await downloaded(
        { url: origin + bulkPath(allocation), token, hash: hashes.bulk },
        (get) => meter({ gate: [pid] }, get),
      );
      const amount = bulkBytes / 2 ** 30;
      if (round > 0)
        samples.push({
          what: "cat, 1 GiB",
          gate,
          round,
          cpuMs: used.cpuMs.gate / amount,
          perSecond: (amount / used.wallMs) * 1_000,
        });
    }
  };
  const inRounds = async (what: string, round: (nth: number) => Promise<void>): Promise<void> => {
    say(`warming up: ${what}`);
    await round(0);
    for (let nth = 1; nth <= rounds; nth++) {
      say(`round ${nth} of ${rounds}: ${what}`);
      await round(nth);
    }
  };
  if (parts.includes("small")) await inRounds("small requests", smallRound);
  if (parts.includes("latency")) await inRounds("single requests", latencyRound);
  if (parts.includes("bulk")) await inRounds("1 GiB", bulkRound);
  return figuresOf(samples, waits);
};

const main = async (): Promise<void> => {
  const before = loadavg()[0]?.toFixed(1);
  say("starting serai, an agent and the peers");
  await using setting = await openSetting(flags["cpu-prof"] ? ["--cpu-prof"] : []);
  const reached = await setting.reached("direct");
  await using peers = await openPeers(reached.address);
  const serai: Measured = { name: "serai", origin: reached.origin, pid: reached.gateway };
  const figures = await measure(
    setting,
    reached.allocation,
    [serai, ...peers.all.filter(({ name }) => flags.peers.split(",").includes(name))],
    `http://${reached.address}`,
  );
  const machine = {
    cores: availableParallelism(),
    cpu: cpus()[0]?.model ?? "",
    node: process.version,
    load: before,
  };
  console.log(`Node ${machine.node}, ${machine.cores} cores (${machine.cpu}), load ${before} before the run
${requests} requests a sample over ${connections} connections; the same bytes by all (1 GiB by its SHA-256); no request failed

${tableOf(figures)}`);
  if (flags.json) console.log(JSON.stringify({ machine, ...figures }));
};

if (!(rounds >= 1)) {
  console.error("--rounds must be a number from 1.");
  process.exitCode = 2;
} else if (bringTools({ ...drivers, ...peerPrograms }, "The bench cannot run")) await main();
else process.exitCode = 2;
