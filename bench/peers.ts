/**
 * The bench: what the same requests cost through serai and through the proxies that a user would pick, side by side in one
 * run. docs/benchmark.md explains it. `--json` prints one JSON line at the end, `--rounds N` changes their number,
 * `--only small,latency,bulk` and `--peers undici,caddy` leave parts and peers out, with NOMAD_BIN a Nomad server is one of them, `--cpu-prof` writes a profile of the gateway.
 * `--connections N` asks for small answers over more of them, `--quick` has these given at once (lib/quick-agent.ts), `--starts N` does it all
 * again with all processes started anew.
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
import { createQuickAgent } from "./lib/quick-agent.ts";
import { endTidily } from "./lib/tidy.ts";
import { bulkBytes, openSetting, pathBytes } from "./lib/tunnel-setting.ts";

endTidily();

const { values: flags } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    rounds: { type: "string" },
    only: { type: "string", default: "small,latency,bulk" },
    peers: { type: "string", default: peerNames.join(",") },
    connections: { type: "string", default: "8" },
    starts: { type: "string", default: "1" },
    quick: { type: "boolean", default: false },
    "cpu-prof": { type: "boolean", default: false },
  },
});

/** Rounds of a GiB differ by a third among themselves, on which its median of five still depends. */
const usualRounds = { small: 5, latency: 5, bulk: 9 };
const roundsOf = (part: keyof typeof usualRounds): number =>
  flags.rounds === undefined ? usualRounds[part] : Number(flags.rounds);
const roundsAtMost = Math.max(roundsOf("small"), roundsOf("latency"), roundsOf("bulk"));
const parts = flags.only.split(",");
/** One program costs a tenth more or less from one start to the next, for as long as it runs. */
const starts = Number(flags.starts);
const connections = Number(flags.connections);
const requests = Math.max(1_500, 25 * connections);
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

interface Taken {
  readonly samples: Sample[];
  readonly waits: Latency[];
}

const measure = async (
  { samples, waits }: Taken,
  start: number,
  gates: readonly Measured[],
  direct: Omit<Measured, "pid" | "name">,
): Promise<void> => {
  /** Of all starts. */
  const idOf = (round: number): number => (start - 1) * roundsAtMost + round;
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
            round: idOf(round),
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
          round: idOf(round),
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
          round: idOf(round),
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
};

const isAsked = (name: PeerName): boolean => flags.peers.split(",").includes(name);

const measureStart = async (taken: Taken, start: number): Promise<void> => {
  const which = starts === 1 ? "" : ` (${start} of ${starts})`;
  say(`starting serai, an agent and the peers${which}`);
  await using setting = await openSetting(flags["cpu-prof"] ? ["--cpu-prof"] : []);
  await using quick = createQuickAgent();
  const reached = await setting.reached("direct", flags.quick ? quick.before : undefined);
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
  await measure(taken, start, gates, { origin: `http://${reached.address}`, behind });
};

const main = async (): Promise<void> => {
  const before = loadavg()[0]?.toFixed(1);
  const taken: Taken = { samples: [], waits: [] };
  for (let start = 1; start <= starts; start++) await measureStart(taken, start);
  const figures = figuresOf(taken.samples, taken.waits);
  const machine = {
    cores: availableParallelism(),
    cpu: cpus()[0]?.model ?? "",
    node: process.version,
    load: before,
  };
  console.log(`Node ${machine.node}, ${machine.cores} cores (${machine.cpu}), load ${before} before the run
${requests} requests a sample over ${connections} connections${flags.quick ? ", answered at once" : ""}; ${starts} ${starts === 1 ? "start" : "starts"}; the same bytes by all (1 GiB by its SHA-256); no request failed

${tableOf(figures)}`);
  if (flags.json) console.log(JSON.stringify({ machine, ...figures }));
};

if (!(roundsOf("small") >= 1 && connections >= 1 && starts >= 1)) {
  console.error("--rounds, --connections and --starts must be numbers from 1.");
  process.exitCode = 2;
} else if (bringTools({ ...drivers, ...peerPrograms }, "The bench cannot run")) await main();
else process.exitCode = 2;
