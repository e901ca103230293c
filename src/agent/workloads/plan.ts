/**
 * What an agent's allocations are at its start: those it had and those its configuration asks for, brought together. Ids, ports
 * and what has finished stay.
 */
import { randomUUID } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import type { Clock, Log } from "../../ports.ts";
import type { WorkloadConfig } from "../ports.ts";
import { allocationDirectory, removeDirectory } from "./directories.ts";
import { toNanoseconds } from "./events.ts";
import { freePort, isFree } from "./free-port.ts";
import { type AllocationRecord, recordKey } from "./record.ts";
import { isTerminal } from "./status.ts";
import { emptyState, type SavedTask } from "./task-state.ts";

export interface PlanNeeds {
  readonly log: Log;
  readonly clock: Clock;
  readonly nextIndex: () => number;
}

export interface PlanOptions {
  readonly workloads: readonly WorkloadConfig[];
  readonly dataDirectory: string;
  /** Where ports are bound. */
  readonly address: string;
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
  record.retired !== true &&
  (record.desired === "stop" || (isTerminal(record.clientStatus) && workload.type === "batch"));

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

/** Without members that are undefined: a state file does not keep them. */
const plain = (workload: WorkloadConfig): unknown => JSON.parse(JSON.stringify(workload));

const revived = (tasks: AllocationRecord["tasks"]): AllocationRecord["tasks"] =>
  Object.fromEntries(
    Object.entries(tasks).map(([name, task]) => [name, { ...task, ended: false }]),
  );

class Plan {
  readonly #needs: PlanNeeds;
  readonly #options: PlanOptions;
  readonly #takenPorts = new Set<number>();
  readonly #fixedPorts: ReadonlySet<number>;

  constructor(needs: PlanNeeds, options: PlanOptions) {
    this.#needs = needs;
    this.#options = options;
    const ports = options.workloads.flatMap((workload) => workload.ports);
    this.#fixedPorts = new Set(ports.flatMap((port) => port.static ?? []));
  }

  async records(saved: readonly AllocationRecord[]): Promise<readonly AllocationRecord[]> {
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
    for (const port of this.#fixedPorts) this.#takenPorts.add(port);
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
      await removeDirectory(allocationDirectory(this.#options.dataDirectory, record.id));
      this.#needs.log.info(fields, "allocation forgotten: its workload is not configured any more");
      return undefined;
    }
    if (record.desired === "stop" && isTerminal(record.clientStatus)) return record;
    this.#needs.log.info(fields, "allocation ended: its workload is not configured any more");
    const index = this.#needs.nextIndex();
    return {
      ...buried(record),
      desired: "stop",
      retired: !staysEnded(record, record.workload),
      modifyIndex: index,
      allocModifyIndex: index,
      modifyTime: toNanoseconds(this.#needs.clock.now()),
    };
  }

  #continued(record: AllocationRecord, { workload }: Wanted): AllocationRecord {
    if (staysEnded(record, workload)) return buried(record);
    const same = isDeepStrictEqual(plain(record.workload), plain(workload));
    const again = isTerminal(record.clientStatus);
    const index = this.#needs.nextIndex();
    return {
      ...record,
      workload,
      desired: "run",
      retired: false,
      version: same ? record.version : record.version + 1,
      clientStatus: "pending",
      collected: false,
      // A service that ended begins anew, with all its tasks.
      tasks: again ? revived(record.tasks) : record.tasks,
      modifyIndex: index,
      allocModifyIndex: record.retired === true ? index : record.allocModifyIndex,
      modifyTime: toNanoseconds(this.#needs.clock.now()),
    };
  }

  #fresh({ workload, index }: Wanted): AllocationRecord {
    const changeIndex = this.#needs.nextIndex();
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

  /** The port it had, unless someone else took it meanwhile, or the configuration gave it away. */
  async #dynamicPort(before: number | undefined): Promise<number> {
    const mayKeep = before !== undefined && !this.#fixedPorts.has(before);
    if (mayKeep && (await isFree(this.#options.address, before))) return before;
    const port = await freePort(this.#options.address, this.#takenPorts, Math.random);
    this.#takenPorts.add(port);
    return port;
  }
}

/** The records to run by, in the order of the old ones. What is forgotten is removed from the disk. */
export const planRecords = (
  needs: PlanNeeds,
  options: PlanOptions,
  saved: readonly AllocationRecord[],
): Promise<readonly AllocationRecord[]> => new Plan(needs, options).records(saved);
