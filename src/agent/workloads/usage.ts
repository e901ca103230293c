/** Resource usage of tasks, sampled from /proc about once a second while tasks run (nomad-http.md §6.1). */
import { cpus } from "node:os";
import type { Json } from "../../lib/json.ts";
import type { Clock } from "../../ports.ts";
import { type ProcessStat, processIds, readMemory, readStat, ticksPerSecond } from "../procfs.ts";
import { toNanoseconds } from "./events.ts";

interface Load {
  readonly rss: number;
  readonly swap: number;
  /** Percent of one core. */
  readonly user: number;
  readonly system: number;
}

/** One task's last sample. */
export interface Sample {
  readonly total: Load;
  readonly processes: ReadonlyMap<number, Load>;
  readonly timestamp: bigint;
}

export interface Sampler {
  /** The last sample of the task whose main process this is; takes one when there is none yet. */
  sample(pid: number): Sample | undefined;
  close(): void;
}

const intervalMs = 1_000;
const noLoad: Load = { rss: 0, swap: 0, user: 0, system: 0 };

const plus = (a: Load, b: Load): Load => ({
  rss: a.rss + b.rss,
  swap: a.swap + b.swap,
  user: a.user + b.user,
  system: a.system + b.system,
});

/** Which task each process belongs to: by group, by session, else by its parent's. */
const owners = (
  stats: ReadonlyMap<number, ProcessStat>,
  roots: ReadonlySet<number>,
): ReadonlyMap<number, number> => {
  const known = new Map<number, number>();
  const ownerOf = (pid: number, depth: number): number => {
    const found = known.get(pid);
    if (found !== undefined) return found;
    const stat = stats.get(pid);
    const owner = ((): number => {
      if (stat === undefined || depth > stats.size) return 0;
      if (roots.has(stat.group)) return stat.group;
      if (roots.has(stat.session)) return stat.session;
      return stat.parent > 1 ? ownerOf(stat.parent, depth + 1) : 0;
    })();
    known.set(pid, owner);
    return owner;
  };
  return new Map([...stats.keys()].map((pid): [number, number] => [pid, ownerOf(pid, 0)]));
};

interface Seen {
  readonly stat: ProcessStat;
  readonly atMs: number;
}

/** Every process of these tasks, with the main process it belongs to. */
const members = (
  roots: ReadonlySet<number>,
): readonly (ProcessStat & { readonly owner: number })[] => {
  const stats = new Map<number, ProcessStat>();
  for (const pid of processIds()) {
    const stat = readStat(pid);
    if (stat !== undefined) stats.set(pid, stat);
  }
  const owned = owners(stats, roots);
  return [...stats.values()].flatMap((stat) => {
    const owner = owned.get(stat.pid) ?? 0;
    return roots.has(owner) ? [{ ...stat, owner }] : [];
  });
};

class ProcSampler implements Sampler {
  readonly #clock: Clock;
  readonly #roots: () => readonly number[];
  readonly #timer: NodeJS.Timeout;
  #samples: ReadonlyMap<number, Sample> = new Map();
  #seen: ReadonlyMap<number, Seen> = new Map();

  constructor(clock: Clock, roots: () => readonly number[]) {
    this.#clock = clock;
    this.#roots = roots;
    this.#timer = setInterval(() => this.#takeAll(), intervalMs);
    this.#timer.unref();
  }

  sample(pid: number): Sample | undefined {
    if (!this.#samples.has(pid)) this.#take(new Set([pid]), this.#samples, this.#seen);
    return this.#samples.get(pid);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #takeAll(): void {
    this.#take(new Set(this.#roots()), new Map(), new Map());
  }

  /** Samples these tasks; what is given of others is kept. */
  #take(
    roots: ReadonlySet<number>,
    samples: ReadonlyMap<number, Sample>,
    seen: ReadonlyMap<number, Seen>,
  ): void {
    const nowMs = this.#clock.monotonic();
    const timestamp = toNanoseconds(this.#clock.now());
    const loads = new Map([...roots].map((root) => [root, new Map<number, Load>()]));
    const nowSeen = new Map(seen);
    for (const stat of roots.size === 0 ? [] : members(roots)) {
      loads.get(stat.owner)?.set(stat.pid, this.#load(stat, nowMs));
      nowSeen.set(stat.pid, { stat, atMs: nowMs });
    }
    this.#seen = nowSeen;
    const taken = [...loads]
      .filter(([, processes]) => processes.size > 0)
      .map(([root, processes]): [number, Sample] => [
        root,
        { total: [...processes.values()].reduce(plus, noLoad), processes, timestamp },
      ]);
    this.#samples = new Map([...samples, ...taken]);
  }

  #load(stat: ProcessStat, nowMs: number): Load {
    const earlier = this.#seen.get(stat.pid);
    const before = earlier?.stat;
    const seconds = Math.max(nowMs - (earlier?.atMs ?? 0), 1) / 1_000;
    const percent = (now: number, then: number | undefined): number =>
      then === undefined ? 0 : Math.max(0, ((now - then) / ticksPerSecond / seconds) * 100);
    return {
      ...readMemory(stat.pid),
      user: percent(stat.userTicks, before?.userTicks),
      system: percent(stat.systemTicks, before?.systemTicks),
    };
  }
}

/** `roots` gives the main processes (group leaders) of the tasks that run now. */
export const createSampler = (clock: Clock, roots: () => readonly number[]): Sampler =>
  new ProcSampler(clock, roots);

const fallbackMhz = 1_000;
const coreMhz = (): number => cpus()[0]?.speed || fallbackMhz;

const memory = (load: Load, measured: readonly string[] | null): Json => ({
  RSS: load.rss,
  Cache: 0,
  Swap: load.swap,
  MappedFile: 0,
  Usage: 0,
  MaxUsage: 0,
  KernelUsage: 0,
  KernelMaxUsage: 0,
  Measured: measured,
});

const cpu = (load: Load, totalTicks: number, measured: readonly string[] | null): Json => ({
  SystemMode: load.system,
  UserMode: load.user,
  TotalTicks: totalTicks,
  ThrottledPeriods: 0,
  ThrottledTime: 0,
  Percent: load.user + load.system,
  Measured: measured,
});

const memoryMeasured = ["RSS", "Swap"];
const cpuMeasured = ["System Mode", "User Mode", "Percent"];

const resourceUsage = (load: Load, totalTicks: number): { readonly [key: string]: Json } => ({
  MemoryStats: memory(load, memoryMeasured),
  CpuStats: cpu(load, totalTicks, cpuMeasured),
  DeviceStats: null,
});

const ticks = (load: Load): number => ((load.user + load.system) / 100) * coreMhz();

const taskUsage = (sample: Sample): Json => ({
  ResourceUsage: resourceUsage(sample.total, ticks(sample.total)),
  Timestamp: sample.timestamp,
  Pids: Object.fromEntries(
    [...sample.processes].map(([pid, load]) => [String(pid), resourceUsage(load, 0)]),
  ),
});

const latest = (samples: readonly Sample[]): bigint | number => {
  let last: bigint | number = 0;
  for (const { timestamp } of samples) if (timestamp > last) last = timestamp;
  return last;
};

/** The whole document, by task name; zero sums when there is no sample. */
export const usageDocument = (samples: ReadonlyMap<string, Sample>): Json => {
  const all = [...samples.values()];
  const sum = all.map((sample) => sample.total).reduce(plus, noLoad);
  const some = all.length > 0;
  return {
    ResourceUsage: {
      MemoryStats: memory(sum, some ? memoryMeasured : null),
      CpuStats: cpu(sum, ticks(sum), some ? cpuMeasured : null),
      DeviceStats: [],
    },
    Tasks: Object.fromEntries([...samples].map(([name, sample]) => [name, taskUsage(sample)])),
    Timestamp: latest(all),
  };
};
