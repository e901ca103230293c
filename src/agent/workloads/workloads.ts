/**
 * The agent's allocations as real processes. What earlier agents left running is ended before anything starts; ids,
 * ports and what has finished live in `state.json`. `close` ends every process.
 */
import path from "node:path";
import type { Clock, Log } from "../../ports.ts";
import type { NodeIdentity, WorkloadConfig, Workloads } from "../ports.ts";
import { Allocation, type AllocationNeeds } from "./allocation.ts";
import { type Changes, createChanges } from "./changes.ts";
import { allocationDirectory, buildRoot } from "./directories.ts";
import { type AllocationIdentity, defaultPath } from "./environment.ts";
import { planRecords } from "./plan.ts";
import type { AllocationRecord, SavedState } from "./record.ts";
import { createStateFile, readState, type StateFile } from "./state-file.ts";
import { endOrphans } from "./stragglers.ts";
import { createSampler, type Sampler } from "./usage.ts";

export interface WorkloadsNeeds {
  readonly log: Log;
  readonly clock: Clock;
}

export interface WorkloadsOptions {
  readonly dataDirectory: string;
  readonly node: NodeIdentity;
  readonly workloads: readonly WorkloadConfig[];
  /** Terminal allocations beyond this are collected, oldest first. */
  readonly gcMaxAllocs: number;
  /** Where ports are bound and announced; loopback when absent. */
  readonly address?: string;
  /** PATH of tasks that set none. */
  readonly path?: string;
}

class RunningWorkloads implements Workloads {
  readonly #needs: WorkloadsNeeds;
  readonly #options: WorkloadsOptions;
  readonly #dataDirectory: string;
  readonly #address: string;
  readonly #changes: Changes;
  readonly #state: StateFile;
  readonly #sampler: Sampler;
  #byId: ReadonlyMap<string, Allocation> = new Map();
  #closing: Promise<void> | undefined;

  constructor(needs: WorkloadsNeeds, options: WorkloadsOptions, savedIndex: number) {
    this.#needs = needs;
    this.#options = options;
    this.#dataDirectory = path.resolve(options.dataDirectory);
    this.#address = options.address ?? "127.0.0.1";
    this.#changes = createChanges(Math.max(savedIndex, Math.floor(needs.clock.now())));
    this.#state = createStateFile(needs.log, this.#dataDirectory, () => this.#saved());
    this.#sampler = createSampler(needs.clock, () => this.#pids());
  }

  get allocations(): readonly Allocation[] {
    return [...this.#byId.values()];
  }
  get index(): number {
    return this.#changes.index;
  }

  allocation(id: string): Allocation | undefined {
    return this.#byId.get(id);
  }

  changed(index: number, signal: AbortSignal): Promise<void> {
    return this.#changes.passed(index, signal);
  }

  async collectAll(): Promise<void> {
    this.#collect(this.#collectable());
  }

  close(signal: AbortSignal): Promise<void> {
    this.#closing ??= this.#close(signal);
    return this.#closing;
  }

  /** Throws when its state cannot be kept: nothing runs then, and nothing is tried again. */
  async start(saved: readonly AllocationRecord[]): Promise<void> {
    const { log, clock } = this.#needs;
    const records = await planRecords(
      { log, clock, nextIndex: () => this.#changes.next() },
      {
        workloads: this.#options.workloads,
        dataDirectory: this.#dataDirectory,
        address: this.#address,
      },
      saved,
    );
    this.#byId = new Map(records.map((record) => [record.id, this.#allocation(record)]));
    try {
      await this.#state.save();
    } catch (error) {
      this.#state.close();
      throw error;
    }
    await Promise.all(this.allocations.map((allocation) => allocation.begin()));
    this.#collectBeyondLimit();
  }

  async #close(signal: AbortSignal): Promise<void> {
    await Promise.all(this.allocations.map((allocation) => allocation.suspend(signal)));
    this.#sampler.close();
    this.#state.close();
    await this.#save();
  }

  /** What runs goes on when the disk is full; the next change tries again. */
  async #save(): Promise<void> {
    try {
      await this.#state.save();
    } catch (error) {
      this.#needs.log.error({ err: error }, "the state cannot be saved");
    }
  }

  #saved(): SavedState {
    return {
      index: this.#changes.index,
      allocations: this.allocations.map((allocation) => allocation.record),
    };
  }

  #pids(): readonly number[] {
    return this.allocations.flatMap((allocation) =>
      allocation.tasks.flatMap((task) => (task.pid === undefined ? [] : [task.pid])),
    );
  }

  #allocation(record: AllocationRecord): Allocation {
    const { workload } = record;
    const identity: AllocationIdentity = {
      id: record.id,
      name: `${workload.job}.${workload.group}[${record.index}]`,
      index: record.index,
      directory: allocationDirectory(this.#dataDirectory, record.id),
      workload,
      ports: new Map(Object.entries(record.ports)),
      address: this.#address,
    };
    return new Allocation(this.#allocationNeeds(), identity, record);
  }

  #allocationNeeds(): AllocationNeeds {
    return {
      clock: this.#needs.clock,
      log: this.#needs.log,
      random: Math.random,
      node: this.#options.node,
      searchPath: this.#options.path ?? defaultPath,
      sampler: this.#sampler,
      touch: () => {
        this.#state.soon();
        return this.#changes.next();
      },
      save: () => this.#save(),
      ended: () => this.#collectBeyondLimit(),
    };
  }

  #collectable(): readonly Allocation[] {
    return this.allocations
      .filter((allocation) => allocation.terminal && !allocation.collected)
      .sort((a, b) => a.modifyIndex - b.modifyIndex);
  }

  #collectBeyondLimit(): void {
    const collectable = this.#collectable();
    this.#collect(
      collectable.slice(0, Math.max(0, collectable.length - this.#options.gcMaxAllocs)),
    );
  }

  #collect(allocations: readonly Allocation[]): void {
    for (const allocation of allocations)
      allocation
        .collect()
        .catch((error: unknown) =>
          this.#needs.log.error(
            { err: error, allocation: allocation.id },
            "allocation cannot be collected",
          ),
        );
  }
}

/** Starts the allocations of this agent. Throws when the data directory cannot be used. */
export const createWorkloads = async (
  needs: WorkloadsNeeds,
  options: WorkloadsOptions,
): Promise<Workloads> => {
  const dataDirectory = path.resolve(options.dataDirectory);
  const saved = await readState(needs, dataDirectory);
  await buildRoot(dataDirectory);
  await endOrphans(needs.log, dataDirectory);
  const workloads = new RunningWorkloads(needs, options, saved?.index ?? 0);
  await workloads.start(saved?.allocations ?? []);
  return workloads;
};
