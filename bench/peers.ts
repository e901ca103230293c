/**
 * The bench: what the same requests cost through serai and through the proxies that a user would pick, side by side in one
 * run. docs/benchmark.md explains it. `--json` prints one JSON line at the end, `--rounds N` changes their number,
 * `--only small,latency,bulk` and `--peers undici,caddy` leave parts and peers out, with NOMAD_BIN a Nomad server is one of them, `--cpu-prof` writes a profile of the gateway.
 */
import { availableParallelism, cpus, loadavg } from "node:os";
import { parseArgs } from "node:util";
import { bringTools } from "../scripts/tools.ts";
import { nomadBinary } from "../test/support/nomad-cluster.ts";
import { meter } from "./lib/cpu.ts";
import { downloaded, drivers, latencies, load } from "./lib/drive.ts";
import { quantile } from "./lib/median.ts";
import { type Behind, openNomadPeer } from "./lib/nomad-peer.ts";
import { figuresOf, type Gate, type Latency, type Sample, tableOf } from "./lib/peer-figures.ts";
import { openPeers, type PeerName, peerNames, peerPrograms } from "./lib/peers.ts";
import { endTidily } from "./lib/tidy.ts";
import { bulkBytes, openSetting, pathBytes } from "./lib/tunnel-setting.ts";

endTidily();

const { values: flags } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    rounds: { type: "string" },
    only: { type: "string", default: "small,latency,bulk" },
    peers: { type: "string", default: peerNames.join(",") },
    "cpu-prof": { type: "boolean", default: false },
  },
});

/** Rounds of a GiB differ by a third among themselves, on which its median of five still depends. */
const usualRounds = { small: 5, latency: 5, bulk: 9 };
const roundsOf = (part: keyof typeof usualRounds): number =>
  flags.rounds === undefined ? usualRounds[part] : Number(flags.rounds);
const parts = flags.only.split(",");
const requests = 1_500;
const connections = 8;
/**
 * As many of each kind before anything counts: gateways run for weeks, and V8 compiles what runs for long. Its last compiler takes a
 * function after some thousand calls, and again when another kind has shown it other values: all kinds, and all of them again.
 */
const warmingRequests = 6_000;
const warmingPasses = 3;
const singles = 1_000;

interface Measured {
  readonly name: Gate;
  readonly origin: string;
  readonly pid: number;
  readonly behind: Behind;
}

const statPath = ({ allocation, directory }: Behind): string =>
  `/v1/client/fs/stat/${allocation}?path=${directory}/bulk.bin`;
const bulkPath = ({ allocation, directory }: Behind): string =>
  `/v1/client/fs/cat/${allocation}?path=${directory}/bulk.bin`;
const operations: Readonly<Record<string, (behind: Behind) => string>> = {
  ls: ({ allocation, directory }) => `/v1/client/fs/ls/${allocation}?path=${directory}`,
  stat: statPath,
  "alloc stats": ({ allocation }) => `/v1/client/allocation/${allocation}/stats`,
};

const say = (words: string): void => console.error(words);

/** In another order each round; every second one backwards, so that nobody always comes behind the same one, whose wake is felt. */
const turned = <T>(all: readonly T[], by: number): readonly T[] => {
  const at = by % all.length;
  const order = [...all.slice(at), ...all.slice(0, at)];
  return by % 2 === 0 ? order : order.reverse();
};

const measure = async (gates: readonly Measured[], direct: Omit<Measured, "pid" | "name">) => {
  const samples: Sample[] = [];
  const waits: Latency[] = [];
  const smallRequests = async (round: number, asked: number): Promise<void> => {
    for (const [what, pathOf] of Object.entries(operations))
      for (const { name: gate, origin, pid, behind } of turned(gates, round)) {
        const urls = [origin + pathOf(behind)];
        const { token } = behind;
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
  const smallRound = async (round: number): Promise<void> => {
    if (round === 0) {
      for (let pass = 0; pass < warmingPasses; pass++) await smallRequests(round, warmingRequests);
    } else await smallRequests(round, requests);
  };
  const latencyRound = async (round: number): Promise<void> => {
    const all = [...gates, { ...direct, name: "direct" } as const];
    for (const { name: gate, origin, behind } of turned(all, round)) {
      const urls = [origin + statPath(behind)];
      const { token } = behind;
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
    for (const { name: gate, origin, pid, behind } of turned(gates, round)) {
      const { token, hash } = behind;
      const used = await downloaded({ url: origin + bulkPath(behind), token, hash }, (get) =>
        meter({ gate: [pid] }, get),
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
  const inRounds = async (
    part: keyof typeof usualRounds,
    what: string,
    round: (nth: number) => Promise<void>,
  ): Promise<void> => {
    if (!parts.includes(part)) return;
    const rounds = roundsOf(part);
    say(`warming up: ${what}`);
    await round(0);
    for (let nth = 1; nth <= rounds; nth++) {
      say(`round ${nth} of ${rounds}: ${what}`);
      await round(nth);
    }
  };
  await inRounds("small", "small requests", smallRound);
  await inRounds("latency", "single requests", latencyRound);
  await inRounds("bulk", "1 GiB", bulkRound);
  return figuresOf(samples, waits);
};

const isAsked = (name: PeerName): boolean => flags.peers.split(",").includes(name);

const main = async (): Promise<void> => {
  const before = loadavg()[0]?.toFixed(1);
  say("starting serai, an agent and the peers");
  await using setting = await openSetting(flags["cpu-prof"] ? ["--cpu-prof"] : []);
  const reached = await setting.reached("direct");
  await using peers = await openPeers(reached.address);
  const { token, hashes } = setting;
  const behind: Behind = {
    token,
    allocation: reached.allocation,
    directory: "/alloc/data",
    hash: hashes.bulk,
  };
  const gates: Measured[] = [
    { name: "serai", origin: reached.origin, pid: reached.gateway, behind },
    ...peers.all.filter(({ name }) => isAsked(name)).map((peer) => ({ ...peer, behind })),
  ];
  await using stack = new AsyncDisposableStack();
  if (nomadBinary === undefined) say("no Nomad among the peers: NOMAD_BIN names none");
  else if (isAsked("nomad")) gates.push(stack.use(await openNomadPeer(bulkBytes, pathBytes)));
  const figures = await measure(gates, { origin: `http://${reached.address}`, behind });
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

if (!(roundsOf("small") >= 1)) {
  console.error("--rounds must be a number from 1.");
  process.exitCode = 2;
} else if (bringTools({ ...drivers, ...peerPrograms }, "The bench cannot run")) await main();
else process.exitCode = 2;
