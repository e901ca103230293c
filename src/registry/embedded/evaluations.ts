/**
 * The evaluations behind the allocations (golden/companions.json): one an `EvalID`, as if a scheduler had placed it, for as
 * long as an allocation names it; and one a stop, of which the newest are kept. They are complete from the start.
 */
import type { AllocationDocument } from "../../documents.ts";
import type { Json, JsonObject } from "../../lib/json.ts";

const maxStops = 1_000;
const defaultPriority = 50;

type Update = "Place" | "Stop";

const updates = (group: string, update: Update): JsonObject => ({
  DesiredTGUpdates: {
    [group]: {
      Ignore: 0,
      Place: update === "Place" ? 1 : 0,
      Migrate: 0,
      Stop: update === "Stop" ? 1 : 0,
      InPlaceUpdate: 0,
      DestructiveUpdate: 0,
      Canary: 0,
      Preemptions: 0,
      Disconnect: 0,
      Reconnect: 0,
      RescheduleNow: 0,
      RescheduleLater: 0,
    },
  },
  PreemptedAllocs: null,
});

const numberOr = (value: Json | undefined, fallback: number): number =>
  typeof value === "number" ? value : fallback;

interface Cause {
  readonly id: string;
  readonly triggeredBy: "job-register" | "alloc-stop";
  readonly update: Update;
  readonly index: number;
  readonly atNs: bigint;
}

const evaluationOf = (
  { Namespace, Job, JobID, TaskGroup }: AllocationDocument,
  { id, triggeredBy, update, index, atNs }: Cause,
): JsonObject => ({
  ID: id,
  Namespace,
  Priority: numberOr(Job["Priority"], defaultPriority),
  Type: typeof Job["Type"] === "string" ? Job["Type"] : "service",
  TriggeredBy: triggeredBy,
  JobID,
  JobModifyIndex: numberOr(Job["JobModifyIndex"], index),
  Status: "complete",
  PlanAnnotations: updates(TaskGroup, update),
  QueuedAllocations: { [TaskGroup]: 0 },
  SnapshotIndex: index,
  CreateIndex: index,
  ModifyIndex: index,
  CreateTime: atNs,
  ModifyTime: atNs,
});

export class Evaluations {
  readonly #documents = new Map<string, JsonObject>();
  readonly #holders = new Map<string, number>();
  readonly #stops: string[] = [];

  get(id: string): JsonObject | undefined {
    return this.#documents.get(id);
  }

  /** By create index. */
  all(): Iterable<JsonObject> {
    return this.#documents.values();
  }

  /** An allocation names its evaluation; true when that is a new one. */
  hold(allocation: AllocationDocument, index: number): boolean {
    const id = allocation.EvalID;
    const holders = this.#holders.get(id) ?? 0;
    this.#holders.set(id, holders + 1);
    if (holders > 0 || this.#documents.has(id)) return false;
    const cause = { id, index, atNs: allocation.CreateTime } as const;
    const document = evaluationOf(allocation, {
      ...cause,
      triggeredBy: "job-register",
      update: "Place",
    });
    this.#documents.set(id, document);
    return true;
  }

  /** True when nobody names it any more and it is gone. */
  release(id: string): boolean {
    const holders = (this.#holders.get(id) ?? 0) - 1;
    if (holders > 0) {
      this.#holders.set(id, holders);
      return false;
    }
    this.#holders.delete(id);
    return this.#documents.delete(id);
  }

  stop(allocation: AllocationDocument, id: string, index: number, atNs: bigint): void {
    const cause = { id, index, atNs } as const;
    const document = evaluationOf(allocation, {
      ...cause,
      triggeredBy: "alloc-stop",
      update: "Stop",
    });
    this.#documents.set(id, document);
    this.#stops.push(id);
    if (this.#stops.length > maxStops) this.#documents.delete(this.#stops.shift() ?? "");
  }
}
