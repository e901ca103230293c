/** What of an allocation outlives the agent, and its shape in the state file. */
import { z } from "zod";
import type { ClientStatus, TaskState } from "../../documents.ts";
import { isUuid } from "../../lib/uuid.ts";
import type { WorkloadConfig } from "../ports.ts";
import type { SavedTask } from "./task-state.ts";

export interface AllocationRecord {
  readonly id: string;
  readonly evalId: string;
  readonly index: number;
  /** As it was when the allocation last began. */
  readonly workload: WorkloadConfig;
  /** Rises when the workload's configuration changes. */
  readonly version: number;
  readonly desired: "run" | "stop";
  /** It was to run, but its workload left the configuration: it runs again when that is back. */
  readonly retired?: boolean | undefined;
  readonly clientStatus: ClientStatus;
  readonly collected: boolean;
  readonly ports: Readonly<Record<string, number>>;
  readonly tasks: Readonly<Record<string, SavedTask>>;
  readonly createIndex: number;
  readonly modifyIndex: number;
  readonly allocModifyIndex: number;
  readonly createTime: bigint;
  readonly modifyTime: bigint;
}

export interface SavedState {
  readonly index: number;
  readonly allocations: readonly AllocationRecord[];
}

const words = z.record(z.string(), z.string());
/** Undefined is kept as an absent member. */
const maybe = <T extends z.ZodType>(type: T) => type.optional().transform((value) => value);
const whole = z.number().int();
const time = z.union([z.bigint(), whole.transform(BigInt)]);

const check = z.object({
  name: z.string(),
  type: z.enum(["tcp", "http"]),
  path: z.string(),
  port: maybe(z.string()),
  intervalMs: z.number(),
  timeoutMs: z.number(),
});

const service = z.object({
  name: z.string(),
  port: z.string(),
  task: maybe(z.string()),
  tags: z.array(z.string()),
  checks: z.array(check),
});

const task = z.object({
  name: z.string(),
  command: z.string(),
  args: z.array(z.string()),
  env: words,
  meta: words,
  lifecycle: maybe(
    z.object({ hook: z.enum(["prestart", "poststart", "poststop"]), sidecar: z.boolean() }),
  ),
  killTimeoutMs: z.number(),
  killSignal: z.string(),
  logs: z.object({ maxFiles: z.number(), maxFileSizeMb: z.number(), disabled: z.boolean() }),
  resources: z.object({ cpu: z.number(), memoryMb: z.number() }),
  leader: z.boolean(),
});

const workload = z.object({
  job: z.string(),
  namespace: z.string(),
  type: z.enum(["service", "batch"]),
  group: z.string(),
  count: whole,
  meta: words,
  ports: z.array(z.object({ label: z.string(), static: maybe(whole) })),
  restart: z.object({
    attempts: z.number(),
    intervalMs: z.number(),
    delayMs: z.number(),
    mode: z.enum(["fail", "delay"]),
  }),
  services: z.array(service),
  tasks: z.array(task),
});

const event = z
  .object({
    Type: z.string(),
    Time: time,
    Message: z.string(),
    DisplayMessage: z.string(),
    Details: words,
  })
  .catchall(z.union([z.string(), z.number(), z.boolean(), z.bigint()]));

const taskState = z.object({
  State: z.enum(["pending", "running", "dead"]),
  Failed: z.boolean(),
  Restarts: whole,
  LastRestart: z.string().nullable(),
  StartedAt: z.string().nullable(),
  FinishedAt: z.string().nullable(),
  Events: z.array(event),
  Paused: z.string(),
}) satisfies z.ZodType<TaskState>;

const uuid = z.string().refine(isUuid);

const record = z.object({
  id: uuid,
  evalId: uuid,
  index: whole.nonnegative(),
  workload,
  version: whole,
  desired: z.enum(["run", "stop"]),
  retired: z.boolean().optional(),
  clientStatus: z.enum(["pending", "running", "complete", "failed", "lost", "unknown"]),
  collected: z.boolean(),
  ports: z.record(z.string(), whole.min(1).max(65_535)),
  tasks: z.record(z.string(), z.object({ state: taskState, ended: z.boolean() })),
  createIndex: whole,
  modifyIndex: whole,
  allocModifyIndex: whole,
  createTime: time,
  modifyTime: time,
}) satisfies z.ZodType<AllocationRecord>;

export const savedState = z.object({
  index: whole,
  allocations: z.array(record),
}) satisfies z.ZodType<SavedState>;

/** What makes two starts speak of the same allocation. */
export const recordKey = (workload: WorkloadConfig, index: number): string =>
  JSON.stringify([workload.namespace, workload.job, workload.group, index]);
