/** `GET /v1/client/stats` (nomad-http.md §4): the node's CPU, memory and disks, sampled when asked, at most once a second. */
import { readFile, statfs } from "node:fs/promises";
import { availableParallelism, cpus, freemem, totalmem, uptime } from "node:os";
import type { JsonObject } from "../lib/json.ts";
import type { Clock } from "../ports.ts";
import { type Mount, mounts } from "./mounts.ts";

interface CpuTimes {
  readonly user: number;
  readonly system: number;
  readonly idle: number;
}

const minSampleMs = 1_000;
const nanosecondsPerMs = 1_000_000n;
const bytesPerKib = 1_024;

const timesNow = (): readonly CpuTimes[] =>
  cpus().map(({ times }) => ({
    user: times.user + times.nice,
    system: times.sys + times.irq,
    idle: times.idle,
  }));

const mhzOf = (index: number): number => cpus()[index]?.speed || 1_000;

const round = (value: number): number => Math.round(value * 100) / 100;

const cpuOf = (now: CpuTimes, before: CpuTimes | undefined, index: number): JsonObject => {
  const user = now.user - (before?.user ?? 0);
  const system = now.system - (before?.system ?? 0);
  const idle = now.idle - (before?.idle ?? 0);
  const total = user + system + idle || 1;
  const busyPercent = ((user + system) / total) * 100;
  return {
    CPU: `cpu${index}`,
    Idle: round((idle / total) * 100),
    System: round((system / total) * 100),
    TotalPercent: round(busyPercent),
    TotalTicks: round((busyPercent / 100) * mhzOf(index)),
    User: round((user / total) * 100),
  };
};

/** MemAvailable of /proc, which counts what caches can give back. */
const availableMemory = async (): Promise<number> => {
  try {
    const text = await readFile("/proc/meminfo", "utf8");
    const kib = /^MemAvailable:\s+(\d+) kB$/m.exec(text)?.[1];
    return kib === undefined ? freemem() : Number(kib) * bytesPerKib;
  } catch {
    return freemem(); // no /proc
  }
};

const maxDisks = 64;

/** Mounts that lie on a device, each device once. */
const diskMounts = (): readonly Mount[] => {
  const found = new Map<string, Mount>();
  for (const mount of mounts())
    if (mount.device.startsWith("/dev/") && !found.has(mount.device) && found.size < maxDisks)
      found.set(mount.device, mount);
  return [...found.values()];
};

const diskOf = async ({ device, mountpoint }: Mount, folder: string): Promise<JsonObject> => {
  const { bsize, blocks, bfree, bavail, files, ffree } = await statfs(folder);
  const used = (blocks - bfree) * bsize;
  const available = bavail * bsize;
  return {
    Available: available,
    Device: device,
    InodesUsedPercent: files === 0 ? 0 : round(((files - ffree) / files) * 100),
    Mountpoint: mountpoint,
    Size: blocks * bsize,
    Used: used,
    UsedPercent: used + available === 0 ? 0 : round((used / (used + available)) * 100),
  };
};

const disks = async (): Promise<readonly JsonObject[]> => {
  const found = await Promise.allSettled(
    diskMounts().map((mount) => diskOf(mount, mount.mountpoint)),
  );
  return found.filter((disk) => disk.status === "fulfilled").map(({ value }) => value);
};

export const createNodeStats = (
  needs: { readonly clock: Clock },
  options: { readonly dataDirectory: string },
): (() => Promise<JsonObject>) => {
  let before: readonly CpuTimes[] = timesNow();
  let latest: { readonly atMs: number; readonly sample: Promise<JsonObject> } | undefined;

  const sample = async (): Promise<JsonObject> => {
    const now = timesNow();
    const perCpu = now.map((times, index) => cpuOf(times, before[index], index));
    before = now;
    const available = await availableMemory();
    const ticks = perCpu.reduce((sum, cpu) => sum + Number(cpu["TotalTicks"]), 0);
    return {
      AllocDirStats: await diskOf({ device: "", mountpoint: "" }, options.dataDirectory),
      CPU: perCpu,
      CPUTicksConsumed: round(ticks),
      DeviceStats: null,
      DiskStats: await disks(),
      Memory: {
        Available: available,
        Free: freemem(),
        Total: totalmem(),
        Used: totalmem() - available,
      },
      Timestamp: BigInt(needs.clock.now()) * nanosecondsPerMs,
      Uptime: Math.floor(uptime()),
    };
  };

  return () => {
    const atMs = needs.clock.monotonic();
    if (latest === undefined || atMs - latest.atMs >= minSampleMs) {
      const taken = sample();
      taken.catch(() => {
        latest = undefined; // a failed one is not kept
      });
      latest = { atMs, sample: taken };
    }
    return latest.sample;
  };
};

/** Total compute in MHz, as Nomad counts it. */
export const totalComputeMhz = (): number =>
  cpus().reduce((sum, _cpu, index) => sum + mhzOf(index), 0) || availableParallelism() * 1_000;
