/** One allocation: its tasks in their lifecycle, what may be asked of it, and its record. */
import type { AllocationDocument, ClientStatus, TaskState } from "../../documents.ts";
import { failed } from "../../errors.ts";
import type { Json } from "../../lib/json.ts";
import type { Clock, Log } from "../../ports.ts";
import type { AgentAllocation, NodeIdentity } from "../ports.ts";
import { allocationDocument } from "./allocation-document.ts";
import { type Checks, createChecks } from "./checks.ts";
import { buildShared, removeDirectory } from "./directories.ts";
import { type AllocationIdentity, taskEnvironment } from "./environment.ts";
import { type EventWords, toNanoseconds } from "./events.ts";
import type { AllocationRecord } from "./record.ts";
import { endingReason, isPoststop, isTerminal, mayStart, rollUp } from "./status.ts";
import { Task } from "./task.ts";
import {
  endedOrGivenUp,
  killInOrder,
  type RestartOptions,
  restartTasks,
  signalTasks,
} from "./task-actions.ts";
import type { SavedTask } from "./task-state.ts";
import { type Sample, type Sampler, usageDocument } from "./usage.ts";

export interface AllocationNeeds {
  readonly clock: Clock;
  readonly log: Log;
  readonly random: () => number;
  readonly node: NodeIdentity;
  readonly searchPath: string;
  readonly sampler: Sampler;
  /** The next index; the record is saved soon. */
  readonly touch: () => number;
  /** Resolves when the record lies on the disk; a disk that refuses is logged. */
  readonly save: () => Promise<void>;
  /** Told once when the allocation has become terminal. */
  readonly ended: () => void;
}

type Rolled = ReturnType<typeof rollUp>;

const notEligible = () => failed("No such allocation on client, or allocation not eligible for GC");

export class Allocation implements AgentAllocation {
  readonly identity: AllocationIdentity;
  readonly tasks: readonly Task[];
  readonly #needs: AllocationNeeds;
  readonly #checks: Checks;
  #record: AllocationRecord;
  #change = Promise.withResolvers<void>();
  #killing: Promise<void> | undefined;
  #collecting: Promise<void> | undefined;
  /** While the agent shuts down its tasks end but the allocation does not: what it was before. */
  #suspended: (Rolled & { readonly tasks: AllocationRecord["tasks"] }) | undefined;

  constructor(needs: AllocationNeeds, identity: AllocationIdentity, record: AllocationRecord) {
    this.#needs = needs;
    this.identity = identity;
    this.#record = record;
    this.#checks = createChecks(needs, identity);
    this.tasks = identity.workload.tasks.map((config) => this.#createTask(config));
  }

  get id(): string {
    return this.identity.id;
  }
  get name(): string {
    return this.identity.name;
  }
  get namespace(): string {
    return this.identity.workload.namespace;
  }
  get jobId(): string {
    return this.identity.workload.job;
  }
  get taskGroup(): string {
    return this.identity.workload.group;
  }
  get directory(): string {
    return this.identity.directory;
  }
  get collected(): boolean {
    return this.#record.collected;
  }
  get clientStatus(): ClientStatus {
    return this.#rolled().status;
  }
  /** Nothing of it runs, nor will. */
  get terminal(): boolean {
    return this.#suspended === undefined && this.tasks.every((task) => task.state === "dead");
  }
  get modifyIndex(): number {
    return this.#record.modifyIndex;
  }
  /** The record as the next agent is to find it. */
  get record(): AllocationRecord {
    const before = this.#suspended?.tasks;
    const tasks = this.tasks.map((task): [string, SavedTask] => [
      task.name,
      before === undefined
        ? task.saved
        : { ...task.saved, ended: before[task.name]?.ended ?? false },
    ]);
    return {
      ...this.#record,
      clientStatus: this.clientStatus,
      tasks: Object.fromEntries(tasks),
    };
  }

  task(name: string): Task | undefined {
    return this.tasks.find((task) => task.name === name);
  }

  /** Builds the directory and begins the tasks, unless the allocation has ended. */
  async begin(): Promise<void> {
    if (this.terminal) return;
    try {
      await buildShared(this.directory);
    } catch (error) {
      // Each task finds the same fault again and says so in its events.
      this.#needs.log.error({ err: error, allocation: this.id }, "allocation directory not made");
    }
    for (const task of this.tasks) task.begin();
  }

  document(): AllocationDocument {
    return allocationDocument(this.identity, this.#needs.node, {
      record: this.#record,
      ...this.#rolled(),
      tasks: Object.fromEntries(
        this.tasks.map((task): [string, TaskState] => [task.name, task.status]),
      ),
    });
  }

  async restart(options: RestartOptions): Promise<void> {
    await restartTasks(this.tasks, options, this.#mayRun());
  }

  async signal(signal: string, name: string): Promise<void> {
    signalTasks(this.tasks, signal, name);
  }

  async stop(): Promise<void> {
    if (this.#record.desired !== "stop") {
      this.#touch({ desired: "stop" }, true);
      await this.#needs.save();
    }
    await this.#endAll();
    await this.#needs.save();
  }

  async collect(): Promise<void> {
    if (!this.terminal || this.collected) throw notEligible();
    this.#collecting ??= this.#remove().finally(() => {
      this.#collecting = undefined;
    });
    await this.#collecting;
  }

  checks(): Json {
    return this.#checks.document();
  }

  usage(name: string | undefined): Json {
    const samples = new Map<string, Sample>();
    for (const task of this.tasks) {
      if ((name !== undefined && task.name !== name) || task.pid === undefined) continue;
      const sample = this.#needs.sampler.sample(task.pid);
      if (sample !== undefined) samples.set(task.name, sample);
    }
    return usageDocument(samples);
  }

  /** Ends the tasks because the agent ends: the allocation is to go on with the agent's next start. */
  async suspend(signal: AbortSignal): Promise<void> {
    if (this.terminal) return;
    this.#suspended = { ...this.#rolled(), tasks: this.record.tasks };
    const slay = (): void => {
      for (const task of this.tasks)
        task
          .slay()
          .catch((error: unknown) =>
            this.#needs.log.error({ err: error, task: task.name }, "task cannot be killed"),
          );
    };
    if (signal.aborted) slay();
    else signal.addEventListener("abort", slay, { once: true });
    await endedOrGivenUp(this.#endAll(), signal, () =>
      this.#needs.log.error({ allocation: this.id }, "its processes cannot be ended"),
    );
    signal.removeEventListener("abort", slay);
  }

  #rolled(): Rolled {
    return this.#suspended ?? rollUp(this.tasks);
  }

  #mayRun(): boolean {
    return (
      !isTerminal(this.clientStatus) &&
      this.#record.desired === "run" &&
      this.#killing === undefined
    );
  }

  /** Ends all tasks in Nomad's order and waits for poststop tasks. */
  async #endAll(): Promise<void> {
    await this.#kill();
    await Promise.all(this.tasks.map((task) => task.done()));
  }

  #kill(): Promise<void> {
    this.#killing ??= killInOrder(this.tasks);
    return this.#killing;
  }

  #createTask(config: AllocationIdentity["workload"]["tasks"][number]): Task {
    const { clock, log, random, node, searchPath } = this.#needs;
    return new Task(
      {
        clock,
        log,
        random,
        mayStart: (task) => mayStart(task, this.tasks),
        nextChange: () => this.#change.promise,
        changed: () => this.#taskChanged(),
      },
      {
        config,
        workload: this.identity.workload,
        allocationId: this.id,
        allocationDirectory: this.directory,
        environment: taskEnvironment(this.identity, config, node, searchPath),
        saved: this.#record.tasks[config.name],
      },
    );
  }

  #taskChanged(): void {
    this.#touch({}, false);
    const change = this.#change;
    this.#change = Promise.withResolvers<void>();
    change.resolve();
    if (this.tasks.every((task) => task.state === "dead")) {
      this.#settle();
      return;
    }
    if (this.clientStatus === "running" && this.#killing === undefined) this.#checks.start();
    this.#endWhenDue();
  }

  #endWhenDue(): void {
    if (this.#killing !== undefined) return;
    const reason = endingReason(this.tasks);
    if (reason === undefined) return;
    const live = this.tasks.filter((task) => task.state !== "dead" && !isPoststop(task));
    // Set first: the announcements are changes too.
    this.#killing = Promise.resolve().then(() => this.#killWith(live, reason));
    this.#killing.catch((error: unknown) =>
      this.#needs.log.error({ err: error, allocation: this.id }, "tasks cannot be ended"),
    );
  }

  #killWith(live: readonly Task[], reason: EventWords): Promise<void> {
    for (const task of live) task.announce(reason);
    return killInOrder(this.tasks);
  }

  /** All tasks are dead. */
  #settle(): void {
    this.#checks.stop();
    if (this.terminal) this.#needs.ended();
  }

  async #remove(): Promise<void> {
    await removeDirectory(this.directory);
    this.#touch({ collected: true }, false);
    await this.#needs.save();
  }

  #touch(change: Partial<AllocationRecord>, desiredChanged: boolean): void {
    const index = this.#needs.touch();
    this.#record = {
      ...this.#record,
      ...change,
      modifyIndex: index,
      modifyTime: toNanoseconds(this.#needs.clock.now()),
      ...(desiredChanged ? { allocModifyIndex: index } : {}),
    };
  }
}
