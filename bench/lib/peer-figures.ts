/** From samples to ratios: each within its round, medians over the rounds, the aims beside them, and the table for people. */
import { verdict } from "../index-workload.ts";
import { median } from "./median.ts";
import { type PeerName, peerNames } from "./peers.ts";

/** `direct`: the agent itself, without a gateway. */
export type Gate = "serai" | PeerName;

export interface Sample {
  /** `ls`, `stat`, `alloc stats`, `cat, 1 GiB`. */
  readonly what: string;
  readonly gate: Gate;
  readonly round: number;
  /** Of the gateway's process, milliseconds for each request or GiB. */
  readonly cpuMs: number;
  readonly perSecond: number;
}

/** Milliseconds of single requests, one after the other, in one round. */
export interface Latency {
  readonly gate: Gate | "direct";
  readonly round: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export interface Row {
  readonly what: string;
  readonly gate: Gate;
  readonly rounds: number;
  readonly cpuMs: number;
  readonly perSecond: number;
  /** serai's CPU beside this gate's. */
  readonly ratio: number;
}

export interface Aim {
  readonly name: string;
  readonly is: number;
  readonly aim: number;
  readonly met: boolean;
}

export interface Figures {
  readonly rows: readonly Row[];
  readonly latencies: readonly Omit<Latency, "round">[];
  readonly ratios: Readonly<Record<string, number>>;
  readonly aims: readonly Aim[];
}

const bulk = "cat, 1 GiB";

/** Of serai beside a gate, round by round: what else runs on the machine is in both sides. */
const ratioOf = (samples: readonly Sample[], gate: Gate): number => {
  const cpuOf = (name: Gate, { what, round }: Sample): number | undefined =>
    samples.find((one) => one.gate === name && one.what === what && one.round === round)?.cpuMs;
  return median(
    samples
      .filter((one) => one.gate === "serai")
      .map((one) => one.cpuMs / (cpuOf(gate, one) ?? Number.NaN))
      .filter((ratio) => !Number.isNaN(ratio)),
  );
};

const rowsOf = (samples: readonly Sample[]): readonly Row[] =>
  [...Map.groupBy(samples, ({ what, gate }) => `${what} ${gate}`).values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const { what, gate } = first;
    return {
      what,
      gate,
      rounds: group.length,
      cpuMs: median(group.map(({ cpuMs }) => cpuMs)),
      perSecond: median(group.map(({ perSecond }) => perSecond)),
      ratio: ratioOf(
        samples.filter((one) => one.what === what),
        gate,
      ),
    };
  });

/** What serai adds to the agent's own time, round by round. */
const addedBy = (latencies: readonly Latency[]): Readonly<Record<string, number>> => {
  const pairs = latencies.flatMap((one) => {
    const own = latencies.find(({ gate, round }) => gate === "direct" && round === one.round);
    return one.gate === "serai" && own ? [[one, own] as const] : [];
  });
  if (pairs.length === 0) return {};
  return {
    added_p50_ms: median(pairs.map(([one, own]) => one.p50Ms - own.p50Ms)),
    added_p99_ms: median(pairs.map(([one, own]) => one.p99Ms - own.p99Ms)),
  };
};

const mediansOf = (latencies: readonly Latency[]): readonly Omit<Latency, "round">[] =>
  [...Map.groupBy(latencies, ({ gate }) => gate).entries()].map(([gate, all]) => ({
    gate,
    p50Ms: median(all.map(({ p50Ms }) => p50Ms)),
    p99Ms: median(all.map(({ p99Ms }) => p99Ms)),
  }));

const aimed: Readonly<Record<string, number>> = {
  small_vs_undici: 0.8,
  small_vs_caddy: 0.6,
  bulk_vs_undici: 0.5,
  bulk_vs_haproxy: 0.95,
  small_vs_nomad: 0.1,
  bulk_vs_nomad: 0.05,
  added_p50_ms: 0.3,
  added_p99_ms: 2,
};

export const figuresOf = (samples: readonly Sample[], latencies: readonly Latency[]): Figures => {
  const small = samples.filter(({ what }) => what !== bulk);
  const large = samples.filter(({ what }) => what === bulk);
  const ratios: Record<string, number> = {};
  for (const peer of peerNames) {
    ratios[`small_vs_${peer}`] = ratioOf(small, peer);
    ratios[`bulk_vs_${peer}`] = ratioOf(large, peer);
  }
  const added = addedBy(latencies);
  const told = { ...ratios, ...added };
  const aims = Object.entries(told).flatMap(([name, is]) => {
    const aim = aimed[name];
    return aim === undefined || Number.isNaN(is) ? [] : [{ name, is, aim, met: is <= aim }];
  });
  return { rows: rowsOf(samples), latencies: mediansOf(latencies), ratios: told, aims };
};

/* ---- for people ---- */

const right = (words: string | number, width: number): string => String(words).padStart(width);

const rowLine = ({ what, gate, cpuMs, perSecond, ratio, rounds }: Row): string => {
  const isBulk = what === bulk;
  const cpu = isBulk ? `${Math.round(cpuMs)} ms` : `${Math.round(cpuMs * 1_000)} us`;
  const rate = isBulk ? `${Math.round(perSecond * 1_024)} MiB/s` : `${Math.round(perSecond)} req/s`;
  return `${what.padEnd(12)}  ${gate.padEnd(8)}${right(cpu, 10)}${right(rate, 14)}${right(ratio.toFixed(2), 14)}${right(rounds, 8)}`;
};

const latencyLine = ({ gate, p50Ms, p99Ms }: Omit<Latency, "round">): string =>
  `${gate.padEnd(8)}${right(p50Ms.toFixed(2), 10)}${right(p99Ms.toFixed(2), 10)}`;

export const tableOf = ({ rows, latencies, aims }: Figures): string =>
  [
    "CPU of the gateway's process for one request, and for one GiB (user + system, medians)",
    "",
    `${"".padEnd(14)}by      ${right("CPU", 10)}${right("rate", 14)}${right("serai / it", 14)}${right("rounds", 8)}`,
    ...rows.map(rowLine),
    "",
    "stat, one after the other, milliseconds",
    `${"by".padEnd(8)}${right("p50", 10)}${right("p99", 10)}`,
    ...latencies.map(latencyLine),
    "",
    ...aims.map(
      ({ name, is, aim, met }) =>
        `${name.padEnd(20)}${right(is.toFixed(2), 8)}   aim ${aim}: ${verdict(met)}`,
    ),
  ].join("\n");
