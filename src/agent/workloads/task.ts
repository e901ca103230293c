/**
 * One task over all its runs: waits for its turn, runs, restarts by policy, ends. Its states and events are what clients
 * see; every change is told to its allocation.
 */
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { TaskEvent, TaskState } from "../../documents.ts";
import { failed } from "../../errors.ts";
import type { Clock, Log } from "../../ports.ts";
import type { AgentTask, TaskConfig, WorkloadConfig } from "../ports.ts";
import { toSignal } from "../signals.ts";
import { buildShared, buildTask, logsDirectory } from "./directories.ts";
import type { TaskEnvironment } from "./environment.ts";
import * as events from "./events.ts";
import {
  createRestartTracker,
  type Outcome,
  type RestartTracker,
  type Verdict,
} from "./restarts.ts";
import type { TaskView } from "./status.ts";
import { StartError, startProcess, type TaskProcess } from "./task-process.ts";
import { restored, type SavedTask } from "./task-state.ts";

export interface TaskNeeds {
  readonly clock: Clock;
  readonly log: Log;
  readonly random: () => number;
  /** Whether the task's turn in the lifecycle has come. */
  readonly mayStart: (task: Task) => boolean;
  /** Resolves with the allocation's next change. */
  readonly nextChange: () => Promise<void>;
  /** Told of every change of state or events. */
  readonly changed: () => void;
}

export interface TaskInit {
  readonly config: TaskConfig;
  readonly workload: WorkloadConfig;
  readonly allocationId: string;
  readonly allocationDirectory: string;
  readonly environment: TaskEnvironment;
  readonly saved: SavedTask | undefined;
}

const maxEvents = 10;
const maxSignalName = 64;
const megabyte = 1024 * 1024;
const maxTimerMs = 2 ** 31 - 1;

const notRunning = () => failed("Task not running");

export class Task implements AgentTask, TaskView {
  readonly config: TaskConfig;
  readonly env: Readonly<Record<string, string>>;
  readonly directory: string;
  readonly #needs: TaskNeeds;
  readonly #init: TaskInit;
  readonly #tracker: RestartTracker;
  #status: TaskState;
  #process: TaskProcess | undefined;
  #ended: boolean;
  #restartAsked = false;
  #impatient = false;
  #stopping = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor(needs: TaskNeeds, init: TaskInit) {
    this.#needs = needs;
    this.#init = init;
    this.config = init.config;
    this.env = init.environment.env;
    this.directory = path.join(init.allocationDirectory, init.config.name);
    this.#tracker = createRestartTracker(init.workload, init.config, needs.random);
    this.#status = restored(init.saved);
    this.#ended = init.saved?.ended ?? false;
  }

  get name(): string {
    return this.config.name;
  }
  get state(): TaskState["State"] {
    return this.#status.State;
  }
  get failed(): boolean {
    return this.#status.Failed;
  }
  get started(): boolean {
    return this.#status.StartedAt !== null;
  }
  get restarting(): boolean {
    return this.#restartAsked;
  }
  get pid(): number | undefined {
    return this.#process?.alive ? this.#process.pid : undefined;
  }
  get status(): TaskState {
    return this.#status;
  }
  get saved(): SavedTask {
    return { state: this.#status, ended: this.#ended };
  }

  /** Begins the task's life; one that died in an earlier run of the agent stays dead. */
  begin(): void {
    if (this.state === "dead") return;
    if (this.#status.Events.length === 0) this.#emit(events.received);
    this.#running = this.#live();
  }

  /** Resolves when the task is dead. */
  done(): Promise<void> {
    return this.#running;
  }

  /** Restarts a running task; resolves when its old process is gone. */
  async restart(reason: string): Promise<void> {
    const running = this.#process;
    if (running === undefined || this.#restartAsked || this.#stopping.signal.aborted)
      throw notRunning();
    this.#restartAsked = true;
    this.#emit(events.restartSignaled(reason));
    await this.#end(running);
  }

  /** Gives a dead task a new life (restart of all tasks, finished ones too). */
  revive(reason: string): void {
    if (this.state !== "dead" || this.#stopping.signal.aborted) return;
    this.#emit(events.restartSignaled(reason));
    this.#ended = false;
    this.#restartPending({ kind: "restart", delayMs: 0, reason: "" });
    this.#running = this.#live();
  }

  /** Sends a signal to the task's main process. */
  signal(name: string): void {
    const running = this.#process;
    if (running === undefined || this.state !== "running") throw notRunning();
    this.#emit(events.signaling(name.slice(0, maxSignalName)));
    running.signal(toSignal(name));
  }

  announce(words: events.EventWords): void {
    this.#emit(words);
  }

  /** Ends the task for good: its kill signal, after its kill timeout SIGKILL. Resolves when it is dead. */
  async kill(): Promise<void> {
    if (this.state === "dead") return;
    const running = this.#process;
    this.#stopping.abort();
    this.#emit(events.killing(this.config.killTimeoutMs));
    if (running !== undefined) await this.#end(running);
    await this.#running;
  }

  /** When patience has ended: no grace. */
  async slay(): Promise<void> {
    this.#impatient = true;
    this.#stopping.abort();
    this.#needs.changed();
    await this.#process?.end("SIGKILL", 0);
    await this.#running;
  }

  #end(running: TaskProcess): Promise<void> {
    if (this.#impatient) return running.end("SIGKILL", 0);
    return running.end(toSignal(this.config.killSignal), this.config.killTimeoutMs);
  }

  async #live(): Promise<void> {
    try {
      while (await this.#turn()) {
        const verdict = this.#follow(await this.#run());
        if (verdict.kind !== "restart") return this.#die(verdict.kind === "failed");
        this.#restartPending(verdict);
        await this.#pause(verdict.delayMs);
      }
      this.#die(false);
    } catch (error) {
      this.#needs.log.error({ err: error, task: this.name }, "task failed unexpectedly");
      this.#emit(events.setupFailure("task failed unexpectedly"));
      this.#die(true);
    }
  }

  /** Waits for the task's turn; false when it is to end instead. */
  async #turn(): Promise<boolean> {
    while (!this.#stopping.signal.aborted) {
      if (this.#needs.mayStart(this)) return true;
      await this.#needs.nextChange();
    }
    return false;
  }

  async #pause(ms: number): Promise<void> {
    if (ms <= 0) return;
    await sleep(Math.min(ms, maxTimerMs), undefined, { signal: this.#stopping.signal }).catch(
      (error: unknown) => {
        if (!this.#stopping.signal.aborted) throw error;
      },
    );
  }

  /** One run, from start to end. */
  async #run(): Promise<Outcome> {
    if (!this.started) this.#emit(events.taskSetup);
    let current: TaskProcess;
    try {
      // The task may have removed what it found.
      await buildShared(this.#init.allocationDirectory);
      await buildTask(this.#init.allocationDirectory, this.name);
      current = await startProcess(this.#needs.log, this.#spec());
    } catch (error) {
      const known = error instanceof StartError;
      this.#needs.log.warn({ err: error, task: this.name }, "task cannot be started");
      const words = known ? error.message : "the task's directory cannot be made";
      this.#emit(known ? events.driverFailure(words) : events.setupFailure(words));
      return { kind: "not_started", reason: words, recoverable: known && error.recoverable };
    }
    this.#process = current;
    this.#update({ State: "running", StartedAt: this.#now(), FinishedAt: null }, events.started);
    // It was told to end while it was being started.
    if (this.#stopping.signal.aborted) await this.#end(current);
    const exit = await current.exited;
    this.#process = undefined;
    this.#emit(events.terminated(exit.exitCode, exit.signal));
    return { kind: "exited", ...exit };
  }

  #spec() {
    const { logs } = this.config;
    return {
      ...this.#init.environment,
      allocationId: this.#init.allocationId,
      task: this.name,
      directory: this.directory,
      logs: logs.disabled
        ? undefined
        : {
            directory: logsDirectory(this.#init.allocationDirectory),
            maxFiles: Math.max(1, logs.maxFiles),
            maxFileBytes: Math.max(1, Math.floor(logs.maxFileSizeMb * megabyte)),
          },
    };
  }

  /** What follows a run: who ended it is asked first, then the policy. */
  #follow(outcome: Outcome): Verdict {
    if (this.#stopping.signal.aborted) {
      this.#emit(events.killed);
      return { kind: "done" };
    }
    if (this.#restartAsked) {
      this.#restartAsked = false;
      return { kind: "restart", delayMs: 0, reason: "" };
    }
    const verdict = this.#tracker.judge(outcome, this.#needs.clock.monotonic());
    if (verdict.kind === "failed") this.#emit(events.notRestarting(verdict.reason));
    return verdict;
  }

  #restartPending(verdict: Extract<Verdict, { kind: "restart" }>): void {
    this.#update(
      {
        State: "pending",
        Failed: false,
        Restarts: this.#status.Restarts + 1,
        LastRestart: this.#now(),
      },
      events.restarting(verdict.delayMs, verdict.reason),
    );
  }

  #die(hasFailed: boolean): void {
    this.#ended = true;
    this.#update({ State: "dead", Failed: hasFailed, FinishedAt: this.#now() });
  }

  #now(): string {
    return new Date(this.#needs.clock.now()).toISOString();
  }

  #emit(words: events.EventWords): void {
    this.#update({}, words);
  }

  #update(change: Partial<TaskState>, words?: events.EventWords): void {
    const added =
      words === undefined
        ? []
        : [events.toTaskEvent(words, events.toNanoseconds(this.#needs.clock.now()))];
    const all: readonly TaskEvent[] = [...this.#status.Events, ...added].slice(-maxEvents);
    this.#status = { ...this.#status, ...change, Events: all };
    this.#needs.changed();
  }
}
