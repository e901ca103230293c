/** The types the agent's parts are written against: workloads (runtime) on one side, the client API on the other. */
import type { AllocationDocument, ClientStatus, TaskState } from "../documents.ts";
import type { Json } from "../lib/json.ts";

/** The node as its settings and its data directory say. */
export interface NodeIdentity {
  readonly id: string;
  readonly name: string;
  readonly datacenter: string;
  readonly region: string;
  readonly nodePool: string;
  /** "" for none. */
  readonly nodeClass: string;
}

/* ---- configuration, as config/agent-schema.ts gives it ---- */

export interface CheckConfig {
  readonly name: string;
  readonly type: "tcp" | "http";
  /** http only. */
  readonly path: string;
  /** Overrides the service's port label. */
  readonly port: string | undefined;
  readonly intervalMs: number;
  readonly timeoutMs: number;
}

export interface ServiceConfig {
  readonly name: string;
  /** A port label of the group. */
  readonly port: string;
  /** Set for a task's service, undefined for the group's. */
  readonly task: string | undefined;
  readonly tags: readonly string[];
  readonly checks: readonly CheckConfig[];
}

export interface TaskConfig {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly meta: Readonly<Record<string, string>>;
  readonly lifecycle:
    | { readonly hook: "prestart" | "poststart" | "poststop"; readonly sidecar: boolean }
    | undefined;
  readonly killTimeoutMs: number;
  readonly killSignal: string;
  readonly logs: {
    readonly maxFiles: number;
    readonly maxFileSizeMb: number;
    readonly disabled: boolean;
  };
  readonly resources: { readonly cpu: number; readonly memoryMb: number };
  /** The task whose end ends the others. */
  readonly leader: boolean;
}

export interface WorkloadConfig {
  readonly job: string;
  readonly namespace: string;
  readonly type: "service" | "batch";
  readonly group: string;
  readonly count: number;
  readonly meta: Readonly<Record<string, string>>;
  readonly ports: readonly { readonly label: string; readonly static: number | undefined }[];
  readonly restart: {
    readonly attempts: number;
    readonly intervalMs: number;
    readonly delayMs: number;
    readonly mode: "fail" | "delay";
  };
  readonly services: readonly ServiceConfig[];
  readonly tasks: readonly TaskConfig[];
}

/* ---- the runtime, as the client API sees it ---- */

/** Nomad's ResourceUsage (nomad-http.md §6.1). */
export interface ResourceUsage {
  readonly MemoryStats: Json;
  readonly CpuStats: Json;
  readonly DeviceStats: readonly Json[] | null;
}

export interface AgentTask {
  readonly name: string;
  readonly state: TaskState["State"];
  /** False until the task's process was started once. */
  readonly started: boolean;
  /** The main process while running. */
  readonly pid: number | undefined;
  /** Environment of the task, for exec: NOMAD_ALLOC_ID, NOMAD_TASK_DIR and the rest, with the task's own. */
  readonly env: Readonly<Record<string, string>>;
  /** Host path of `<alloc dir>/<task>`. */
  readonly directory: string;
}

export interface AgentAllocation {
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  readonly jobId: string;
  readonly taskGroup: string;
  /** Host path of the allocation's directory, absolute, without trailing slash. */
  readonly directory: string;
  /** True once its files were collected: the allocation is still known, its directory is gone. */
  readonly collected: boolean;
  readonly clientStatus: ClientStatus;
  readonly tasks: readonly AgentTask[];
  task(name: string): AgentTask | undefined;
  document(): AllocationDocument;
  /** Throws GatewayError with Nomad's words (nomad-http.md §6.4). Resolves when the old processes are gone. */
  restart(options: { readonly taskName: string; readonly allTasks: boolean }): Promise<void>;
  /** Nomad's words on refusal (§6.5); `task` "" is all tasks. */
  signal(signal: string, task: string): Promise<void>;
  /** Desired status stop: tasks are ended, poststop tasks run, the allocation completes. */
  stop(): Promise<void>;
  /** §6.3: throws `failed("No such allocation on client, or allocation not eligible for GC")`. */
  collect(): Promise<void>;
  /** §6.2: by check id, or null when it has none. */
  checks(): Json;
  /** §6.1 whole document; `task` filters. */
  usage(task: string | undefined): Json;
}

/** All allocations of this agent. Its index rises with every change of any allocation's document. */
export interface Workloads {
  readonly allocations: readonly AgentAllocation[];
  allocation(id: string): AgentAllocation | undefined;
  readonly index: number;
  /** Resolves when the index passes `index` or the signal aborts (without throwing). */
  changed(index: number, signal: AbortSignal): Promise<void>;
  /** Collects every terminal allocation; returns once each has been started (§5). */
  collectAll(): Promise<void>;
  /** Ends all tasks (SIGTERM of the agent): allocations keep their ids and restart with the next start. */
  close(signal: AbortSignal): Promise<void>;
}
