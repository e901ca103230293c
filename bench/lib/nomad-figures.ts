/** From samples to figures: idle CPU taken off, medians over the rounds, and the table that people read. */
import type { Used } from "./cpu.ts";
import { median } from "./median.ts";
import type { Part, Way } from "./nomad-setting.ts";

export type Cpu = Readonly<Record<Part, number>>;

export interface Sample extends Used<Part> {
  /** What was done, `ls` or `cat, 1 GiB`. */
  readonly what: string;
  readonly way: Way;
  readonly connections: number;
  /** Requests, or GiB. */
  readonly amount: number;
}

const parts = ["server", "agents", "serai"] as const;

const mapParts = (toNumber: (part: Part) => number): Cpu => ({
  server: toNumber("server"),
  agents: toNumber("agents"),
  serai: toNumber("serai"),
});

/** Milliseconds of CPU a second. */
const rate = ({ cpuMs, wallMs }: Used<Part>): Cpu =>
  mapParts((part) => (cpuMs[part] / wallMs) * 1_000);

const mediansOf = (all: readonly Cpu[]): Cpu =>
  mapParts((part) => median(all.map((one) => one[part])));

const total = (cpu: Cpu): number => parts.reduce((sum, part) => sum + cpu[part], 0);

/** One line of the table: milliseconds of CPU for each request (or GiB), by way. */
export interface Row {
  readonly what: string;
  readonly connections: number;
  readonly rounds: number;
  readonly cpuMs: Readonly<Record<Way, Cpu>>;
  /** All of serai's way beside all of the server's. */
  readonly ratio: number;
}

export interface Figures {
  /** Milliseconds of CPU a second. */
  readonly idle: Cpu;
  readonly rows: readonly Row[];
  /** Of the servers, in milliseconds of CPU a second. */
  readonly serversUnderSerai: { readonly small: number; readonly bulk: number };
  readonly serversAtIdle: boolean;
}

/** A hundredth of a core above idle: what one process' idle differs by from second to second is about as much. */
const idleMarginMs = 10;

const rowOf = (samples: readonly Sample[], idle: Cpu): Row => {
  const [first] = samples;
  if (first === undefined) throw new Error("a row without samples");
  const of = (way: Way): Cpu =>
    mediansOf(
      samples
        .filter((sample) => sample.way === way)
        .map(({ cpuMs, wallMs, amount }) =>
          mapParts((part) => (cpuMs[part] - (idle[part] * wallMs) / 1_000) / amount),
        ),
    );
  const cpuMs = { server: of("server"), serai: of("serai") };
  const { what, connections } = first;
  const ratio = total(cpuMs.serai) / total(cpuMs.server);
  return { what, connections, rounds: samples.length / 2, cpuMs, ratio };
};

const serversUnder = (samples: readonly Sample[]): number =>
  median(samples.filter(({ way }) => way === "serai").map((sample) => rate(sample).server));

export const figuresOf = (
  idles: readonly Used<Part>[],
  { small, bulk }: { readonly small: readonly Sample[]; readonly bulk: readonly Sample[] },
): Figures => {
  const idle = mediansOf(idles.map(rate));
  const groups = Map.groupBy([...small, ...bulk], (one) => `${one.what} ${one.connections}`);
  const serversUnderSerai = { small: serversUnder(small), bulk: serversUnder(bulk) };
  return {
    idle,
    rows: [...groups.values()].map((samples) => rowOf(samples, idle)),
    serversUnderSerai,
    serversAtIdle: Object.values(serversUnderSerai).every((ms) => ms - idle.server < idleMarginMs),
  };
};

/* ---- for people ---- */

const bulkFrom = 100; // a row of more milliseconds than this is told in them, others in microseconds

const cells = (cpu: Cpu, scale: number): string =>
  [...parts.map((part) => cpu[part]), total(cpu)]
    .map((ms) => String(Math.max(0, Math.round(ms * scale))).padStart(8))
    .join("");

const line = ({ what, connections, rounds, cpuMs, ratio }: Row): string => {
  const isBulk = total(cpuMs.server) > bulkFrom;
  const name = `${what.padEnd(14)}${String(connections).padStart(4)}${isBulk ? "  ms" : "  us"}`;
  const scale = isBulk ? 1 : 1_000;
  const sides = `${cells(cpuMs.server, scale)} |${cells(cpuMs.serai, scale)}`;
  return `${name} |${sides} |${ratio.toFixed(2).padStart(6)} |${String(rounds).padStart(7)}`;
};

const perSecond = (ms: number): string => `${ms.toFixed(1)} ms/s`;

export const tableOf = ({ idle, rows, serversUnderSerai, serversAtIdle }: Figures): string => {
  const heads = ["server", "agents", "serai", "all"].map((head) => head.padStart(8)).join("");
  const { small, bulk } = serversUnderSerai;
  return [
    "CPU for one request, and for one GiB (user + system, idle taken off, medians)",
    "",
    `${"".padEnd(22)} | ${"through the server".padEnd(31)} | ${"through serai".padEnd(31)} |       |`,
    `${"".padEnd(14)}conn     |${heads} |${heads} | ratio | rounds`,
    ...rows.map(line),
    "",
    `idle: server ${perSecond(idle.server)}, agents ${perSecond(idle.agents)}, serai ${perSecond(idle.serai)}`,
    `the server while serai is under load: ${perSecond(small)} (small requests), ${perSecond(bulk)} (1 GiB), idle ${perSecond(idle.server)}: ${
      serversAtIdle ? "at its idle" : "NOT AT ITS IDLE"
    }`,
  ].join("\n");
};
