/** A whole agent's door over real sockets, with an allocation whose tasks are real processes. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { type RawData, WebSocket } from "ws";
import type { DoorNeeds } from "../../../src/agent/api/ask.ts";
import { createPullSecrets } from "../../../src/agent/api/secrets.ts";
import { type AgentServer, createAgentServer } from "../../../src/agent/api/server.ts";
import { createExecSessions } from "../../../src/agent/exec/sessions.ts";
import { createFileHandlers } from "../../../src/agent/files/handlers.ts";
import { createMetadata } from "../../../src/agent/metadata.ts";
import { createNodeStats } from "../../../src/agent/node-stats.ts";
import type { AgentAllocation, AgentTask, Workloads } from "../../../src/agent/ports.ts";
import type { AllocationDocument } from "../../../src/documents.ts";
import { failed, GatewayError } from "../../../src/errors.ts";
import type { Credential, Log, Principal } from "../../../src/ports.ts";

export const allocationId = "307b0057-418f-b6f1-922f-691b03e2fdef";
export const unknownId = "11111111-2222-3333-4444-555555555555";
export const nodeId = "54bc24bf-b455-d16b-fb44-abb740ea7b4b";
export const pullSecret = "pull-secret-of-the-gateway";

export const clock = { now: () => Date.now(), monotonic: () => performance.now() };

export interface Line {
  readonly level: string;
  readonly fields: Record<string, unknown>;
  readonly message: string;
}

export const recordingLog = (lines: Line[]): Log => {
  const at = (level: string) => (fields: object, message: string) =>
    void lines.push({ level, fields: { ...fields }, message });
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
};

/** Polls until `check` holds; the deadline is generous because the machine may be busy. */
export const eventually = async (
  check: () => boolean | Promise<boolean>,
  what: string,
  withinMs = 15_000,
): Promise<void> => {
  const until = Date.now() + withinMs;
  while (!(await check())) {
    if (Date.now() > until) throw new Error(`not within ${withinMs} ms: ${what}`);
    await wait(20);
  }
};

interface Grant {
  readonly management?: boolean;
  readonly capabilities?: readonly string[];
  readonly node?: readonly string[];
  readonly agent?: readonly string[];
}

const everything = [
  "read-job", "read-fs", "read-logs", "alloc-exec", "alloc-node-exec", "alloc-lifecycle", "submit-job", "gc-allocation",
]; // biome-ignore format: a list

/** Tokens by their secret; the namespace is always `golden`. */
const grants: Readonly<Record<string, Grant>> = {
  full: { capabilities: everything, node: ["read", "write"], agent: ["read"] },
  management: { management: true },
  read: { capabilities: ["read-job", "read-fs", "read-logs"] },
  write: { capabilities: everything.filter((name) => name !== "alloc-node-exec") },
  "alloc-exec": { capabilities: ["alloc-exec"] },
  "alloc-node-exec": { capabilities: ["alloc-exec", "alloc-node-exec"] },
  "node-read": { node: ["read"] },
  "node-write": { node: ["read", "write"] },
  "other-ns": {},
  "": {},
};

const principalOf = (name: string, grant: Grant): Principal => ({
  accessorId: name || "anonymous",
  name,
  type: grant.management ? "management" : "client",
  policies: [],
  acl: {
    management: grant.management === true,
    namespace: (namespace, capability) =>
      grant.management === true ||
      (namespace === "golden" && (grant.capabilities ?? []).includes(capability)),
    everywhere: () => grant.management === true,
    anyIn: () => false,
    node: (level) => grant.management === true || (grant.node ?? []).includes(level),
    agent: (level) => grant.management === true || (grant.agent ?? []).includes(level),
  },
  expiresAtMs: undefined,
});

const authenticate = async ({ secret = "" }: Credential): Promise<Principal> => {
  const grant = grants[secret];
  if (grant === undefined) throw new GatewayError("permission_denied");
  return principalOf(secret, grant);
};

export class TestAllocation implements AgentAllocation {
  readonly id = allocationId;
  readonly name = "golden-web.g[0]";
  readonly namespace = "golden";
  readonly jobId = "golden-web";
  readonly taskGroup = "g";
  readonly collected = false;
  readonly directory: string;
  clientStatus: AgentAllocation["clientStatus"] = "running";
  readonly calls: string[] = [];
  readonly #main: ChildProcess;

  constructor(directory: string, main: ChildProcess) {
    this.directory = directory;
    this.#main = main;
  }

  get tasks(): readonly AgentTask[] {
    const env = {
      PATH: "/usr/local/bin:/usr/bin:/bin",
      GREETING: "hello",
      NOMAD_TASK_NAME: "web",
    };
    const directory = path.join(this.directory, "web");
    const pid = this.#main.pid;
    return [
      { name: "web", state: "running", started: true, pid, env, directory },
      { name: "init", state: "dead", started: true, pid: undefined, env, directory },
      { name: "later", state: "pending", started: false, pid: undefined, env, directory },
    ];
  }
  task(name: string): AgentTask | undefined {
    if (name === "ending") return this.#ending();
    return this.tasks.find((task) => task.name === name);
  }
  /** Ends as soon as somebody has seen that it runs. */
  #ending(): AgentTask {
    let pid = this.#main.pid;
    const env = { PATH: "/usr/bin:/bin", GREETING: `hello ${this.directory}` };
    return {
      name: "ending",
      state: "running",
      started: true,
      env,
      directory: path.join(this.directory, "web"),
      get pid() {
        const seen = pid;
        pid = undefined;
        return seen;
      },
    };
  }
  document(): AllocationDocument {
    return {
      ID: this.id, Namespace: this.namespace, EvalID: "", Name: this.name, NodeID: nodeId, NodeName: "n", JobID: this.jobId,
      Job: {}, TaskGroup: this.taskGroup, AllocatedResources: null, DesiredStatus: "run", ClientStatus: this.clientStatus,
      TaskStates: null, CreateIndex: 1, ModifyIndex: 1, CreateTime: 1795318544478179795n, ModifyTime: 1795318544478179795n,
    }; // biome-ignore format: a document
  }
  async restart({ taskName, allTasks }: { taskName: string; allTasks: boolean }): Promise<void> {
    if (taskName !== "" && allTasks)
      throw failed("task name cannot be set when restarting all tasks");
    if (taskName !== "" && this.task(taskName) === undefined)
      throw failed(`Could not find task runner for task: ${taskName}`);
    this.calls.push(`restart ${taskName} ${allTasks}`);
  }
  async signal(signal: string, task: string): Promise<void> {
    if (this.task(task) === undefined) throw failed("Task not found");
    this.calls.push(`signal ${signal} ${task}`);
  }
  async stop(): Promise<void> {
    this.calls.push("stop");
  }
  async collect(): Promise<void> {
    throw failed("No such allocation on client, or allocation not eligible for GC");
  }
  checks(): null {
    return null;
  }
  usage(task: string | undefined) {
    return { Tasks: {}, Timestamp: 1735689600123456789n, Of: task ?? "all" };
  }
  services(): readonly [] {
    return [];
  }
}

class TestWorkloads implements Workloads {
  readonly allocations: readonly AgentAllocation[];
  index = 7;
  #wake: (() => void)[] = [];

  constructor(allocation: AgentAllocation) {
    this.allocations = [allocation];
  }
  allocation(id: string): AgentAllocation | undefined {
    return this.allocations.find((allocation) => allocation.id === id);
  }
  /** Something changed. */
  touch(): void {
    this.index++;
    for (const wake of this.#wake.splice(0)) wake();
  }
  get waiting(): number {
    return this.#wake.length;
  }
  async changed(index: number, signal: AbortSignal): Promise<void> {
    while (this.index <= index && !signal.aborted)
      await new Promise<void>((resolve) => {
        this.#wake.push(resolve);
        signal.addEventListener("abort", () => resolve(), { once: true });
      });
  }
  async collectAll(): Promise<void> {
    // none is terminal
  }
  async close(): Promise<void> {
    // the test ends its process itself
  }
}

export interface TestDoor extends AsyncDisposable {
  readonly server: AgentServer;
  readonly port: number;
  readonly origin: string;
  readonly allocation: TestAllocation;
  readonly workloads: TestWorkloads;
  readonly lines: Line[];
  readonly directory: string;
}

export interface TestDoorOptions {
  readonly needs?: Partial<DoorNeeds>;
  readonly handshakeTimeoutMs?: number;
  readonly maxStrangersPerAddress?: number;
  readonly maxStrangers?: number;
  readonly maxSessions?: number;
  readonly stalledAfterMs?: number;
  readonly pingMs?: number;
  readonly keepAliveMs?: number;
}

export const testDoor = async (options: TestDoorOptions = {}): Promise<TestDoor> => {
  const directory = await mkdtemp(path.join(tmpdir(), "serai-agent-"));
  await mkdir(path.join(directory, "alloc", allocationId, "web"), { recursive: true });
  const main = spawn("/bin/sh", ["-c", "exec sleep 600"], { stdio: "ignore" });
  const allocation = new TestAllocation(path.join(directory, "alloc", allocationId), main);
  const workloads = new TestWorkloads(allocation);
  const lines: Line[] = [];
  const log = recordingLog(lines);
  const pullSecrets = createPullSecrets();
  pullSecrets.add(pullSecret);
  const { handshakeTimeoutMs, maxStrangersPerAddress, maxStrangers } = options;
  const { stalledAfterMs, pingMs, keepAliveMs } = options;
  const server = createAgentServer(
    {
      node: { id: nodeId, name: "n", datacenter: "dc1", region: "eu" },
      workloads,
      authenticate,
      files: createFileHandlers(),
      metadata: await createMetadata(
        { log },
        { dataDirectory: directory, meta: { rack: "r3", owner: "ops" } },
      ),
      nodeStats: createNodeStats({ clock }, { dataDirectory: directory }),
      execSessions: createExecSessions(
        { log, clock },
        {
          maxSessions: options.maxSessions ?? 64,
          ...(stalledAfterMs === undefined ? {} : { stalledAfterMs }),
          ...(pingMs === undefined ? {} : { pingMs }),
        },
      ),
      pullSecrets,
      log,
      clock,
      ...options.needs,
    },
    {
      ...(keepAliveMs === undefined ? {} : { keepAliveMs }),
      exec: {
        ...(handshakeTimeoutMs === undefined ? {} : { handshakeTimeoutMs }),
        ...(maxStrangersPerAddress === undefined ? {} : { maxStrangersPerAddress }),
        ...(maxStrangers === undefined ? {} : { maxStrangers }),
      },
    },
  );
  const port = await server.listen("127.0.0.1", 0);
  return {
    server, port, origin: `http://127.0.0.1:${port}`, allocation, workloads, lines, directory,
    async [Symbol.asyncDispose]() {
      await server.close(AbortSignal.timeout(5_000));
      main.kill("SIGKILL");
      if (main.exitCode === null && main.signalCode === null) await once(main, "exit");
      await rm(directory, { recursive: true, force: true });
    },
  }; // biome-ignore format: one line of fields
};

/* ---- a client of exec ---- */

export interface Ended {
  /** Text frames in order. */
  readonly frames: readonly string[];
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly code: number;
  readonly reason: string;
}

export interface ExecOptions {
  readonly command?: readonly string[] | string;
  readonly task?: string;
  readonly tty?: string;
  readonly token?: string;
  readonly id?: string;
  readonly query?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export const execUrl = (port: number, options: ExecOptions): string => {
  const command =
    typeof options.command === "string" ? options.command : JSON.stringify(options.command ?? []);
  const query = new URLSearchParams();
  if (options.task !== "") query.set("task", options.task ?? "web");
  query.set("tty", options.tty ?? "false");
  query.set("command", command);
  const more = options.query === undefined ? "" : `&${options.query}`;
  return `ws://127.0.0.1:${port}/v1/client/allocation/${options.id ?? allocationId}/exec?${query}${more}`;
};

const bytesOf = (data: RawData): Buffer =>
  Array.isArray(data)
    ? Buffer.concat(data)
    : data instanceof ArrayBuffer
      ? Buffer.from(data)
      : data;

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null;

const dataOf = (frames: readonly string[], name: string): Buffer =>
  Buffer.concat(
    frames.map((text) => {
      const frame: unknown = JSON.parse(text);
      const part = isRecord(frame) ? frame[name] : undefined;
      return Buffer.from(String((isRecord(part) ? part["data"] : undefined) ?? ""), "base64");
    }),
  );

export class ExecClient {
  readonly socket: WebSocket;
  readonly frames: string[] = [];
  readonly #ended: Promise<{ readonly code: number; readonly reason: string }>;

  constructor(port: number, options: ExecOptions) {
    const token = options.token ?? "full";
    this.socket = new WebSocket(execUrl(port, options), {
      headers: { ...(token === "" ? {} : { "X-Nomad-Token": token }), ...options.headers },
    });
    this.socket.on("error", () => undefined);
    this.socket.on("message", (data) => this.frames.push(bytesOf(data).toString()));
    this.#ended = new Promise((resolve) => {
      this.socket.once("close", (code, reason) => resolve({ code, reason: reason.toString() }));
    });
  }

  async opened(): Promise<this> {
    if (this.socket.readyState !== WebSocket.OPEN) await once(this.socket, "open");
    return this;
  }
  send(frame: object | string): void {
    this.socket.send(typeof frame === "string" ? frame : JSON.stringify(frame));
  }
  input(text: string | Buffer): void {
    this.send({ stdin: { data: Buffer.from(text).toString("base64") } });
  }
  closeInput(): void {
    this.send({ stdin: { close: true } });
  }
  get stdout(): string {
    return dataOf(this.frames, "stdout").toString();
  }
  async saw(text: string): Promise<void> {
    await eventually(() => this.stdout.includes(text), `output ${JSON.stringify(text)}`);
  }
  async ended(): Promise<Ended> {
    const { code, reason } = await this.#ended;
    const { frames } = this;
    return {
      frames,
      stdout: dataOf(frames, "stdout"),
      stderr: dataOf(frames, "stderr"),
      code,
      reason,
    };
  }
}

/** Runs to the end with no input. */
export const exec = async (port: number, options: ExecOptions): Promise<Ended> =>
  new ExecClient(port, options).ended();

export const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};
