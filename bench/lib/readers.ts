/** Readers of large files that stop, beside readers of small files that go on: what the first cost the gateway and the second. */
import { closeSync, ftruncateSync, openSync, writeFileSync } from "node:fs";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type Bench, openBench } from "./bench-setting.ts";
import { cpuMs } from "./cpu.ts";
import { type Load, latencies } from "./drive.ts";
import { median, quantile } from "./median.ts";
import { rssKib } from "./memory.ts";
import { stopReading } from "./stopped-reader.ts";

interface Look {
  /** Milliseconds of each request. */
  readonly tookMs: readonly number[];
  readonly rssKib: number;
}

/** Of the requests of all rounds: those of one are too few for a p99 that two looks could be compared by. */
interface Seen {
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Median of the rounds. */
  readonly rssKib: number;
}

export interface Readers {
  readonly stopped: number;
  readonly fast: number;
  readonly rounds: number;
  readonly without: Seen;
  readonly beside: Seen;
  /** Median of the differences within a round. */
  readonly rssGrewKib: number;
}

const stopped = 100;
const fast = 900;
const bulkBytes = 2 ** 30;
const smallBytes = 4 * 1024;
/** Of each fast reader, who opens its connection anew in each look. */
const requestsEach = 3;
const perSecond = 0.4;
const quietForMs = 1_000;
const quietShare = 0.05;
const quietWithinMs = 30_000;
const warmUps = 2;

/**
 * A stopped reader fills the buffers of every socket on its way first, some megabytes each, the agent's last: waits until both
 * processes rest.
 */
const settled = async (pids: readonly number[]): Promise<void> => {
  const untilMs = performance.now() + quietWithinMs;
  for (let share = 1; share > quietShare && performance.now() < untilMs; ) {
    const [startedMs, before] = [performance.now(), pids.map(cpuMs)];
    await delay(quietForMs);
    const usedMs = Math.max(...pids.map((pid, at) => cpuMs(pid) - (before[at] ?? 0)));
    share = usedMs / (performance.now() - startedMs);
  }
};

const writeFiles = ({ directory }: Bench): void => {
  writeFileSync(path.join(directory, "small.bin"), Buffer.alloc(smallBytes, "x"));
  const file = openSync(path.join(directory, "bulk.bin"), "w");
  ftruncateSync(file, bulkBytes);
  closeSync(file);
};

const seen = (looks: readonly Look[]): Seen => {
  const took = looks.flatMap(({ tookMs }) => tookMs).toSorted((a, b) => a - b);
  return {
    p50Ms: quantile(took, 0.5),
    p99Ms: quantile(took, 0.99),
    rssKib: median(looks.map(({ rssKib }) => rssKib)),
  };
};

/** In rounds, without and with the stopped readers in turn. */
export const readers = async (
  { rounds, node }: { readonly rounds: number; readonly node: readonly string[] },
  say: (words: string) => void,
): Promise<Readers> => {
  await using bench = await openBench(node);
  writeFiles(bench);
  const { gateway, agentPid, token, allocation } = bench;
  const cat = (name: string): string =>
    `${gateway.url}/v1/client/fs/cat/${allocation}?path=/alloc/data/${name}.bin`;
  const load: Load = {
    urls: [cat("small")],
    token,
    connections: fast,
    requests: fast * requestsEach,
    perSecond,
  };
  const look = async (): Promise<Look> => {
    await settled([gateway.pid, agentPid]);
    return { tookMs: await latencies(load), rssKib: rssKib(gateway.pid) };
  };
  say("readers: warming up");
  for (let nth = 0; nth < warmUps; nth++) await look();
  const without: Look[] = [];
  const beside: Look[] = [];
  for (let nth = 1; nth <= rounds; nth++) {
    say(`round ${nth} of ${rounds}: ${fast} readers, ${stopped} stopped ones`);
    without.push(await look());
    const sockets = await Promise.all(
      Array.from({ length: stopped }, () => stopReading(cat("bulk"), token)),
    );
    beside.push(await look());
    for (const socket of sockets) socket.destroy();
  }
  return {
    stopped,
    fast,
    rounds,
    without: seen(without),
    beside: seen(beside),
    rssGrewKib: median(beside.map((one, at) => one.rssKib - (without[at]?.rssKib ?? Number.NaN))),
  };
};
