/**
 * The agent's allocations as real processes. What earlier agents left running is ended before anything starts; ids,
 * ports and what has finished live in `state.json`. `close` ends every process.
 */
import { randomUUID } from "node:crypto";
import path from "node:path";
import { isDeepStrictEqual } from "node:util";
import type { Clock, Log } from "../../ports.ts";
import type { WorkloadConfig, Workloads } from "../ports.ts";
import { Allocation, type AllocationNeeds } from "./allocation.ts";
import { type Changes, createChanges } from "./changes.ts";
import { allocationDirectory, buildRoot, removeDirectory } from "./directories.ts";
import { type AllocationIdentity, defaultPath, type NodeIdentity } from "./environment.ts";
import { toNanoseconds } from "./events.ts";
import { freePort, isFree } from "./free-port.ts";
import { type AllocationRecord, recordKey, type SavedState } from "./record.ts";
import { createStateFile, readState, type StateFile } from "./state-file.ts";
import { isTerminal } from "./status.ts";
import { endOrphans } from "./stragglers.ts";
import { emptyState, type SavedTask } from "./task.ts";
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

interface Wanted {
  readonly workload: WorkloadConfig;
  readonly index: number;
}

const wantedOf = (workloads: readonly WorkloadConfig[]): ReadonlyMap<string, Wanted> =>
  new Map(
    workloads.flatMap((workload) =>
      Array.from({ length: workload.count }, (_, index): [string, Wanted] => [
        recordKey(workload, index),
        { workload, index },
      ]),
    ),
  );

/** Finished work stays finished: batch that ended, and what was stopped. A service that failed is tried again. */
const staysEnded = (record: AllocationRecord, workload: WorkloadConfig): boolean =>
  record.desired === "stop" || (isTerminal(record.clientStatus) && workload.type === "batch");

/** With every task dead, also those that an agent which was killed had not seen end. */
const buried = (record: AllocationRecord): AllocationRecord => ({
  ...record,
  clientStatus: isTerminal(record.clientStatus) ? record.clientStatus : "complete",
  tasks: Object.fromEntries(
    record.workload.tasks.map(({ name }): [string, SavedTask] => {
      const state = record.tasks[name]?.state ?? emptyState;
      return [name, { ended: true, state: { ...state, State: "dead" } }];
    }),
  ),
});

class RunningWorkloads implements Workloads {
  readonly #needs: WorkloadsNeeds;
  readonly #options: WorkloadsOptions;
  readonly #dataDirectory: string;
  readonly #address: string;
  readonly #changes: Changes;
  readonly #state: StateFile;
  readonly #sampler: Sampler;
  readonly #takenPorts = new Set<number>();
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

  async start(saved: readonly AllocationRecord[]): Promise<void> {
    const records = await this.#records(saved);
    this.#byId = new Map(records.map((record) => [record.id, this.#allocation(record)]));
    await this.#state.save();
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

  async #records(saved: readonly AllocationRecord[]): Promise<readonly AllocationRecord[]> {
    const wanted = wantedOf(this.#options.workloads);
    const left = new Map(wanted);
    const kept: AllocationRecord[] = [];
    for (const record of saved) {
      const key = recordKey(record.workload, record.index);
      const want = left.get(key);
      left.delete(key);
      const next = want === undefined ? await this.#retired(record) : this.#continued(record, want);
      if (next !== undefined) kept.push(next);
    }
    const fresh = [...left.values()].map((want) => this.#fresh(want));
    const records = [...kept, ...fresh];
    for (const record of records)
      for (const port of Object.values(record.ports)) this.#takenPorts.add(port);
    const ready: AllocationRecord[] = [];
    for (const record of records) ready.push(await this.#withPorts(record));
    return ready;
  }

  /** Its workload left the configuration: it stays listed, ended, until it is collected; then it is forgotten. */
  async #retired(record: AllocationRecord): Promise<AllocationRecord | undefined> {
    const fields = { allocation: record.id, job: record.workload.job };
    if (record.collected) {
      await removeDirectory(allocationDirectory(this.#dataDirectory, record.id));
      this.#needs.log.info(fields, "allocation forgotten: its workload is not configured any more");
      return undefined;
    }
    if (record.desired === "stop" && isTerminal(record.clientStatus)) return record;
    this.#needs.log.info(fields, "allocation ended: its workload is not configured any more");
    const index = this.#changes.next();
    return {
      ...buried(record),
      desired: "stop",
      modifyIndex: index,
      allocModifyIndex: index,
      modifyTime: toNanoseconds(this.#needs.clock.now()),
    };
  }

  #continued(record: AllocationRecord, { workload }: Wanted): AllocationRecord {
    if (staysEnded(record, workload)) return buried(record);
    const same = isDeepStrictEqual(plain(record.workload), plain(workload));
    const again = isTerminal(record.clientStatus);
    return {
      ...record,
      workload,
      version: same ? record.version : record.version + 1,
      clientStatus: "pending",
      collected: false,
      // A service that ended begins anew, with all its tasks.
      tasks: again ? revived(record.tasks) : record.tasks,
      modifyIndex: this.#changes.next(),
      modifyTime: toNanoseconds(this.#needs.clock.now()),
    };
  }

  #fresh({ workload, index }: Wanted): AllocationRecord {
    const changeIndex = this.#changes.next();
    const now = toNanoseconds(this.#needs.clock.now());
    return {
      id: randomUUID(),
      evalId: randomUUID(),
      index,
      workload,
      version: 0,
      desired: "run",
      clientStatus: "pending",
      collected: false,
      ports: {},
      tasks: {},
      createIndex: changeIndex,
      modifyIndex: changeIndex,
      allocModifyIndex: changeIndex,
      createTime: now,
      modifyTime: now,
    };
  }

  async #withPorts(record: AllocationRecord): Promise<AllocationRecord> {
    if (isTerminal(record.clientStatus)) return record;
    const ports: [string, number][] = [];
    for (const { label, static: fixed } of record.workload.ports)
      ports.push([label, fixed ?? (await this.#dynamicPort(record.ports[label]))]);
    return { ...record, ports: Object.fromEntries(ports) };
  }

  /** The port it had, unless someone else took it meanwhile. */
  async #dynamicPort(before: number | undefined): Promise<number> {
    if (before !== undefined && (await isFree(this.#address, before))) return before;
    const port = await freePort(this.#address, this.#takenPorts, Math.random);
    this.#takenPorts.add(port);
    return port;
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

/** Without members that are undefined: a state file does not keep them. */
const plain = (workload: WorkloadConfig): unknown => JSON.parse(JSON.stringify(workload));

const revived = (tasks: AllocationRecord["tasks"]): AllocationRecord["tasks"] =>
  Object.fromEntries(
    Object.entries(tasks).map(([name, task]) => [name, { ...task, ended: false }]),
  );

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
