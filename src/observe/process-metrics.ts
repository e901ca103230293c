/** The process's own figures, read when asked for. prom-client's default set leaves observers behind that cannot be closed. */
import { readdir } from "node:fs/promises";
import { constants, PerformanceObserver } from "node:perf_hooks";
import type { Registry } from "prom-client";
import Counter from "prom-client/lib/counter.js";
import Gauge from "prom-client/lib/gauge.js";
import Histogram from "prom-client/lib/histogram.js";
import { errnoOf } from "../errors.ts";
import { openFilesLimit } from "../lib/open-files.ts";
import type { LoopWatch } from "./loop.ts";

const gcBuckets = [0.001, 0.01, 0.05, 0.1, 0.5, 1];

const gcKinds: Readonly<Record<number, string>> = {
  [constants.NODE_PERFORMANCE_GC_MAJOR]: "major",
  [constants.NODE_PERFORMANCE_GC_MINOR]: "minor",
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL]: "incremental",
  [constants.NODE_PERFORMANCE_GC_WEAKCB]: "weakcb",
};

/** With no descriptor left the system tells nothing of a process: then what was last read counts, and the scrape goes on. */
const lastOf = <T>(read: () => T): (() => T) => {
  let last = read();
  return () => {
    try {
      last = read();
    } catch {
      // read again at the next scrape
    }
    return last;
  };
};

const openFds = async (most: number): Promise<number> => {
  try {
    return (await readdir("/proc/self/fd")).length - 1;
  } catch (error) {
    return errnoOf(error) === "EMFILE" ? most : 0; // no such directory outside Linux
  }
};

const addGc = (registry: Registry): (() => void) => {
  const pauses = new Histogram({
    name: "nodejs_gc_duration_seconds",
    help: "Garbage collections by kind",
    labelNames: ["kind"],
    buckets: gcBuckets,
    registers: [registry],
  });
  for (const kind of [...Object.values(gcKinds), "other"]) pauses.zero({ kind });
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const detail: unknown = "detail" in entry ? entry.detail : undefined;
      const kind =
        typeof detail === "object" && detail !== null && "kind" in detail
          ? gcKinds[Number(detail.kind)]
          : undefined;
      pauses.labels(kind ?? "other").observe(entry.duration / 1000);
    }
  });
  observer.observe({ entryTypes: ["gc"] });
  return () => observer.disconnect();
};

const addLoop = (registry: Registry, loop: LoopWatch): void => {
  new Gauge({
    name: "serai_event_loop_delay_seconds",
    help: "Delay of the event loop since the last scrape",
    labelNames: ["quantile"],
    registers: [registry],
    collect() {
      const delay = loop.delay();
      this.set({ quantile: "0.5" }, delay.p50Seconds);
      this.set({ quantile: "0.99" }, delay.p99Seconds);
      this.set({ quantile: "1" }, delay.maxSeconds);
    },
  });
};

/** Metrics are read one by one: each collects its own, none sets another's. */
const addMemory = (registry: Registry): void => {
  const memory = lastOf(() => process.memoryUsage());
  const resident = lastOf(() => process.memoryUsage.rss());
  new Gauge({
    name: "nodejs_memory_bytes",
    help: "Memory by kind",
    labelNames: ["kind"],
    registers: [registry],
    collect() {
      const usage = memory();
      this.set({ kind: "heap_used" }, usage.heapUsed);
      this.set({ kind: "heap_total" }, usage.heapTotal);
      this.set({ kind: "external" }, usage.external);
      this.set({ kind: "array_buffers" }, usage.arrayBuffers);
    },
  });
  new Gauge({
    name: "process_resident_memory_bytes",
    help: "Resident memory",
    registers: [registry],
    collect() {
      this.set(resident());
    },
  });
};

const addProcess = (registry: Registry): void => {
  let countedSeconds = 0;
  new Counter({
    name: "process_cpu_seconds_total",
    help: "CPU time of the process",
    registers: [registry],
    collect() {
      const { user, system } = process.cpuUsage();
      const seconds = (user + system) / 1e6;
      this.inc(Math.max(0, seconds - countedSeconds));
      countedSeconds = seconds;
    },
  });
  new Gauge({
    name: "process_start_time_seconds",
    help: "When the process started",
    registers: [registry],
  }).set(Math.round(performance.timeOrigin / 1000));
  let lastMax = openFilesLimit() ?? 0;
  const maxFds = (): number => {
    lastMax = openFilesLimit() ?? lastMax;
    return lastMax;
  };
  new Gauge({
    name: "process_max_fds",
    help: "Descriptors the process may open",
    registers: [registry],
    collect() {
      this.set(maxFds());
    },
  });
  new Gauge({
    name: "process_open_fds",
    help: "Open descriptors",
    registers: [registry],
    async collect() {
      this.set(await openFds(maxFds()));
    },
  });
};

/** Adds the figures; the answer takes away what watches. */
export const addProcessMetrics = (registry: Registry, loop: LoopWatch): (() => void) => {
  addProcess(registry);
  addMemory(registry);
  addLoop(registry, loop);
  return addGc(registry);
};
