/** From samples to figures: medians over the rounds, the aims beside them, and the table that people read. */
import { verdict } from "../index-workload.ts";
import type { Used } from "./cpu.ts";
import { median } from "./median.ts";
import type { Way } from "./tunnel-setting.ts";

export type Part = "gateway" | "agent" | "connector";
/** `bare`: node:http and undici in the gateway's place. */
export type Carrier = Way | "bare";

export interface Sample extends Used<Part> {
  readonly what: string;
  readonly carrier: Carrier;
  readonly connections: number;
  /** Requests, or GiB. */
  readonly amount: number;
}

export interface Waits {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly rssMb: Readonly<Record<Part, number>>;
}

export interface Stopped {
  readonly carrier: Carrier;
  readonly readers: number;
  readonly without: Waits;
  readonly with: Waits;
}

/** Of one carrier in one kind of work; CPU in milliseconds for each request or GiB. */
export interface Row {
  readonly what: string;
  readonly connections: number;
  readonly carrier: Carrier;
  readonly rounds: number;
  readonly cpuMs: Readonly<Record<Part, number>>;
  readonly perSecond: number;
}

export interface Aim {
  readonly what: string;
  readonly is: number;
  readonly aim: number;
  readonly met: boolean;
}

export interface Figures {
  readonly rows: readonly Row[];
  readonly stopped: readonly Stopped[];
  readonly pathMbit: number;
  readonly aims: readonly Aim[];
}

const partsOf = <T>(toValue: (part: Part) => T): Readonly<Record<Part, T>> => ({
  gateway: toValue("gateway"),
  agent: toValue("agent"),
  connector: toValue("connector"),
});

const rowOf = (samples: readonly Sample[]): Row => {
  const [first] = samples;
  if (first === undefined) throw new Error("a row without samples");
  const { what, connections, carrier } = first;
  return {
    what,
    connections,
    carrier,
    rounds: samples.length,
    cpuMs: partsOf((part) => median(samples.map(({ cpuMs, amount }) => cpuMs[part] / amount))),
    perSecond: median(samples.map(({ wallMs, amount }) => (amount / wallMs) * 1_000)),
  };
};

/** The medians of several looks; of memory the first and the most, since what a process has grown to stays with it. */
export const usual = (all: readonly Waits[], memory: "first" | "most"): Waits => ({
  p50Ms: median(all.map(({ p50Ms }) => p50Ms)),
  p99Ms: median(all.map(({ p99Ms }) => p99Ms)),
  rssMb: partsOf((part) => {
    const seen = all.map(({ rssMb }) => rssMb[part]);
    return memory === "most" ? Math.max(...seen) : (seen[0] ?? Number.NaN);
  }),
});

/** Medians of the ratios within a round: what else runs on the machine is in both of its sides. */
const ratio = (
  samples: readonly Sample[],
  [one, other]: readonly [Carrier, Carrier],
  value: (sample: Sample) => number,
): number => {
  const of = (carrier: Carrier): readonly number[] =>
    samples.filter((sample) => sample.carrier === carrier).map(value);
  const under = of(other);
  return median(of(one).map((above, at) => above / (under[at] ?? Number.NaN)));
};

const gatewayCpu = ({ cpuMs, amount }: Sample): number => cpuMs.gateway / amount;
const speed = ({ wallMs, amount }: Sample): number => amount / wallMs;

const atMost = (what: string, is: number, aim: number): Aim => ({ what, is, aim, met: is <= aim });
const atLeast = (what: string, is: number, aim: number): Aim => ({ what, is, aim, met: is >= aim });

const aimsOfGroup = (samples: readonly Sample[]): readonly Aim[] => {
  const [first] = samples;
  if (first === undefined) return [];
  const { what, connections } = first;
  const tunnels = ["tunnel", "connector"] as const;
  if (what === "stat")
    return tunnels.map((way) =>
      atMost(
        `${what}, ${connections} connections: gateway's CPU, ${way} / direct`,
        ratio(samples, [way, "direct"], gatewayCpu),
        1.2,
      ),
    );
  if (what === "cat, 1 GiB")
    return tunnels.flatMap((way) => [
      atMost(
        `${what}: gateway's CPU, ${way} / bare`,
        ratio(samples, [way, "bare"], gatewayCpu),
        1.2,
      ),
      // the aim was set beside an agent that is dialled by undici, which bare does
      atLeast(`${what}: throughput, ${way} / bare`, ratio(samples, [way, "bare"], speed), 0.6),
    ]);
  return tunnels.map((way) =>
    atLeast(`${what}: throughput, ${way} / direct`, ratio(samples, [way, "direct"], speed), 0.8),
  );
};

const grown = (one: Stopped, part: Part): number =>
  (one.with.rssMb[part] - one.without.rssMb[part]) / one.readers;

const aimsOfStopped = (one: Stopped): readonly Aim[] =>
  one.carrier === "direct"
    ? []
    : [
        atMost(
          `${one.readers} stopped readers, ${one.carrier}: p99 of small requests grows by, ms`,
          one.with.p99Ms - one.without.p99Ms,
          20,
        ),
      ];

export const figuresOf = (
  samples: readonly Sample[],
  stopped: readonly Stopped[],
  pathMbit: number,
): Figures => {
  const groups = [
    ...Map.groupBy(samples, ({ what, connections }) => `${what} ${connections}`).values(),
  ];
  return {
    rows: groups.flatMap((group) =>
      [...Map.groupBy(group, ({ carrier }) => carrier).values()].map(rowOf),
    ),
    stopped,
    pathMbit,
    aims: [...groups.flatMap(aimsOfGroup), ...stopped.flatMap(aimsOfStopped)],
  };
};

/* ---- for people ---- */

const right = (words: string | number, width: number): string => String(words).padStart(width);

const rowLine = ({ what, connections, carrier, cpuMs, perSecond, rounds }: Row): string => {
  const isSmall = what === "stat";
  const cpu = Object.values(cpuMs).map((ms) => right(Math.round(isSmall ? ms * 1_000 : ms), 10));
  const rate = isSmall
    ? `${Math.round(perSecond)} req/s`
    : `${Math.round(perSecond * 1_024)} MiB/s`;
  return `${what.padEnd(24)}${right(connections, 4)}  ${carrier.padEnd(10)}${isSmall ? "us" : "ms"}${cpu.join("")}${right(rate, 14)}${right(rounds, 8)}`;
};

const waits = ({ p50Ms, p99Ms, rssMb }: Waits): string =>
  `${right(p50Ms.toFixed(1), 8)}${right(p99Ms.toFixed(1), 8)}${Object.values(rssMb)
    .map((mb) => right(Math.round(mb), 7))
    .join("")}`;

const stoppedLine = (one: Stopped): string =>
  `${one.carrier.padEnd(10)} |${waits(one.without)} |${waits(one.with)} |${right(grown(one, "gateway").toFixed(2), 8)}${right(grown(one, "agent").toFixed(2), 8)}${right(grown(one, "connector").toFixed(2), 8)}`;

const sides = `${right("p50 ms", 8)}${right("p99 ms", 8)}${right("gw MB", 7)}${right("agent", 7)}${right("conn", 7)}`;

export const tableOf = ({ rows, stopped, pathMbit, aims }: Figures): string =>
  [
    "CPU for one request, and for one GiB (user + system, medians)",
    "",
    `${"".padEnd(28)}  by        ${["gateway", "agent", "connector"].map((head) => right(head, 10)).join("")}${right("", 16)}  rounds`,
    ...rows.map(rowLine),
    ...(Number.isNaN(pathMbit)
      ? []
      : [
          "",
          `the long path: 50 ms round trip; a plain download gets ${pathMbit.toFixed(1)} Mbit/s`,
        ]),
    ...(stopped.length === 0
      ? []
      : [
          "",
          `readers of 1 GiB that stop: small requests (8 connections) and memory (RSS) before | with them | MB for each`,
          `${"".padEnd(10)} |${sides} |${sides} |${right("gw", 8)}${right("agent", 8)}${right("conn", 8)}`,
          ...stopped.map(stoppedLine),
        ]),
    "",
    ...aims.map(
      ({ what, is, aim, met }) =>
        `${what.padEnd(72)}${right(is.toFixed(2), 8)}   aim ${aim}: ${verdict(met)}`,
    ),
  ].join("\n");
