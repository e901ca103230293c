/** What the tests of workloads share: a configuration, a data directory, waiting for a fact. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { TestContext } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { TaskConfig, WorkloadConfig, Workloads } from "../../../src/agent/ports.ts";
import { processIds, readEnvironment, readStat } from "../../../src/agent/procfs.ts";
import { createWorkloads } from "../../../src/agent/workloads/workloads.ts";
import type { Clock, Log } from "../../../src/ports.ts";

export const clock: Clock = { now: () => Date.now(), monotonic: () => performance.now() };

export interface RecordingLog extends Log {
  readonly lines: string[];
}

export const recordingLog = (): RecordingLog => {
  const lines: string[] = [];
  const add = (_fields: object, message: string): void => {
    lines.push(message);
  };
  return { lines, debug: add, info: add, warn: add, error: add };
};

export const node = {
  id: "97f516e4-4611-169d-81ac-e99860b1284c",
  name: "client-2",
  datacenter: "dc1",
  nodePool: "default",
  nodeClass: "",
  region: "global",
};

export const task = (name: string, script: string, more: Partial<TaskConfig> = {}): TaskConfig => ({
  name,
  command: "/bin/sh",
  args: ["-c", script],
  env: {},
  meta: {},
  lifecycle: undefined,
  killTimeoutMs: 2_000,
  killSignal: "",
  logs: { maxFiles: 10, maxFileSizeMb: 10, disabled: false },
  resources: { cpu: 20, memoryMb: 20 },
  leader: false,
  ...more,
});

export const workload = (
  tasks: readonly TaskConfig[],
  more: Partial<WorkloadConfig> = {},
): WorkloadConfig => ({
  job: "web",
  namespace: "default",
  type: "service",
  group: "g",
  count: 1,
  meta: {},
  ports: [],
  restart: { attempts: 0, intervalMs: 600_000, delayMs: 10, mode: "fail" },
  services: [],
  tasks,
  ...more,
});

/** Waits for a fact, at most 15 s. */
export const until = async (what: string, fact: () => boolean): Promise<void> => {
  for (const deadline = Date.now() + 15_000; !fact(); await sleep(10))
    assert.ok(Date.now() < deadline, `not reached: ${what}`);
};

/** Live processes whose allocation directory lies below this data directory. */
export const processesOf = (dataDirectory: string): readonly number[] =>
  processIds().filter(
    (pid) =>
      readStat(pid) !== undefined &&
      readEnvironment(pid)?.get("NOMAD_ALLOC_DIR")?.startsWith(`${dataDirectory}/`) === true,
  );

export interface Start {
  readonly log?: Log;
  readonly gcMaxAllocs?: number;
}

export interface Bench {
  readonly dataDirectory: string;
  start(workloads: readonly WorkloadConfig[], more?: Start): Promise<Workloads>;
}

/** A data directory for one test; at its end every agent is closed and no process may be left. */
export const bench = (t: TestContext): Bench => {
  const dataDirectory = mkdtempSync(path.join(tmpdir(), "serai-workloads-"));
  const started: Workloads[] = [];
  t.after(async () => {
    for (const workloads of started) await workloads.close(AbortSignal.timeout(5_000));
    const left = processesOf(dataDirectory);
    for (const pid of left) process.kill(pid, "SIGKILL");
    rmSync(dataDirectory, { recursive: true, force: true });
    assert.deepEqual(left, [], "processes survived the agent");
  });
  return {
    dataDirectory,
    start: async (workloads, more = {}) => {
      const running = await createWorkloads(
        { log: more.log ?? recordingLog(), clock },
        { dataDirectory, node, workloads, gcMaxAllocs: more.gcMaxAllocs ?? 50 },
      );
      started.push(running);
      return running;
    },
  };
};

/** The only allocation. */
export const first = (workloads: Workloads) => {
  const allocation = workloads.allocations[0];
  assert.ok(allocation);
  return allocation;
};

export const eventTypes = (workloads: Workloads, name: string): readonly string[] =>
  (first(workloads).document().TaskStates?.[name]?.Events ?? []).map((event) => event.Type);

export const never = new AbortController().signal;
