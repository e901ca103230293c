/**
 * The allocation documents of all agents, under the gateway's own indexes. An agent writes only what it owns: an id that
 * another node holds is refused for as long as that node is known with it (hardening.md S3).
 */
import type { AllocationDocument } from "../../documents.ts";
import type { Placement } from "../../ports.ts";
import type { Change } from "../feed.ts";
import type { Indexes } from "../indexes.ts";
import type { DropReason } from "./allocation-document.ts";
import { Evaluations } from "./evaluations.ts";
import { Lost } from "./lost.ts";

/** What one answer of a node's agent says. */
export interface NodePicture {
  /** Every id it lists and that is not refused for its form. */
  readonly listed: ReadonlySet<string>;
  /** Documents that are new or differ from those taken before. */
  readonly changed: readonly AllocationDocument[];
}

export interface AllocationsNeeds {
  readonly indexes: Indexes;
  readonly changed: (index: number, changes: readonly Change[]) => void;
  readonly refused: (nodeId: string, allocationId: string, reason: DropReason) => void;
}

const stopMark = {
  DesiredStatus: "stop",
  DesiredDescription: "alloc was stopped on request",
} as const;

const terminalOf = ({ ClientStatus: status }: AllocationDocument): Placement["terminal"] =>
  status === "complete" || status === "failed" || status === "lost" ? status : undefined;

export const placementOf = (document: AllocationDocument): Placement => ({
  id: document.ID,
  nodeId: document.NodeID,
  namespace: document.Namespace,
  jobId: document.JobID,
  taskGroup: document.TaskGroup,
  terminal: terminalOf(document),
});

const isSamePlace = (one: Placement, other: Placement): boolean =>
  one.nodeId === other.nodeId &&
  one.namespace === other.namespace &&
  one.jobId === other.jobId &&
  one.taskGroup === other.taskGroup &&
  one.terminal === other.terminal;

const toChange = (document: AllocationDocument) =>
  ({ kind: "allocation", placement: placementOf(document) }) as const;

export class Allocations {
  readonly evaluations = new Evaluations();
  readonly #needs: AllocationsNeeds;
  readonly #max: number;
  /** In order of create index: an update keeps its place. */
  readonly #documents = new Map<string, AllocationDocument>();
  readonly #ofNode = new Map<string, Set<string>>();
  /** Stopped through the gateway while their agent's document may not say so yet. */
  readonly #stopped = new Set<string>();
  readonly #lost = new Lost();

  constructor(needs: AllocationsNeeds, maxAllocations: number) {
    this.#needs = needs;
    this.#max = maxAllocations;
  }

  get size(): number {
    return this.#documents.size;
  }

  get(id: string): AllocationDocument | undefined {
    const document = this.#documents.get(id);
    return document && this.#lost.over(document);
  }

  all(): Iterable<AllocationDocument> {
    const documents = this.#documents.values();
    return this.#lost.size === 0 ? documents : documents.map((one) => this.#lost.over(one));
  }

  of(nodeId: string): ReadonlySet<string> {
    return this.#ofNode.get(nodeId) ?? new Set();
  }

  /** Takes in what a node's agent listed; answers which of the changed documents were taken. */
  commit(nodeId: string, { listed, changed }: NodePicture): ReadonlySet<string> {
    const changes: Change[] = [];
    for (const id of this.of(nodeId)) if (!listed.has(id)) changes.push(this.#remove(nodeId, id));
    const taken = new Set<string>();
    for (const document of changed) {
      const refusal = this.#refusal(nodeId, document.ID);
      if (refusal !== undefined) {
        this.#needs.refused(nodeId, document.ID, refusal);
        continue;
      }
      taken.add(document.ID);
      const change = this.#put(document);
      if (change) changes.push(change);
    }
    changes.push(...this.#recover(nodeId));
    if (changes.length > 0) this.#needs.changed(this.#needs.indexes.last, changes);
    return taken;
  }

  /** The node is down: what may still run there is lost, until its agent tells of it again. */
  lose(nodeId: string, atNs: bigint): void {
    const live = [...this.of(nodeId)]
      .map((id) => this.get(id))
      .filter((document) => document !== undefined)
      .filter((document) => terminalOf(document) === undefined);
    if (live.length === 0) return;
    const index = this.#needs.indexes.touch("allocs");
    for (const { ID } of live) this.#lost.add(ID, { index, atNs });
    this.#needs.changed(
      index,
      live.map((document) => toChange(this.#lost.over(document))),
    );
  }

  /** Forgets a node's allocations with the node. */
  drop(nodeId: string): void {
    this.commit(nodeId, { listed: new Set(), changed: [] });
    this.#ofNode.delete(nodeId);
  }

  /** True when there is nothing to stop: its agent told that it ended or is being stopped. */
  hasEnded(id: string): boolean {
    const document = this.#documents.get(id);
    if (document === undefined) return false; // not told of
    return terminalOf(document) !== undefined || !this.#isToRun(document);
  }

  /** A stop waits to be told to the agent: what the agent tells meanwhile is shown with it. False: it was expected. */
  expectStop(id: string): boolean {
    if (this.#stopped.has(id)) return false;
    this.#stopped.add(id);
    return true;
  }

  unexpectStop(id: string): void {
    this.#stopped.delete(id);
  }

  /** The allocation shows its stop at once, and its evaluation is there; undefined when it has left meanwhile. */
  stop(id: string, evaluationId: string, atNs: bigint): number | undefined {
    const document = this.#documents.get(id);
    if (document === undefined) return undefined;
    const index = this.#needs.indexes.touch("allocs", "evals");
    if (document.DesiredStatus === "run") {
      this.#stopped.add(id);
      this.#documents.set(id, {
        ...document,
        ...stopMark,
        ModifyIndex: index,
        AllocModifyIndex: index,
        ModifyTime: atNs,
      });
    }
    this.evaluations.stop(document, evaluationId, index, atNs);
    return index;
  }

  #refusal(nodeId: string, id: string): DropReason | undefined {
    const held = this.#documents.get(id);
    if (held === undefined) return this.#documents.size >= this.#max ? "too_many" : undefined;
    return held.NodeID === nodeId ? undefined : "rival";
  }

  #put(fresh: AllocationDocument): Change | undefined {
    const id = fresh.ID;
    const old = this.get(id);
    const index = this.#needs.indexes.touch("allocs");
    this.#lost.delete(id);
    if (fresh.DesiredStatus !== "run" || terminalOf(fresh)) this.#stopped.delete(id);
    const document: AllocationDocument = {
      ...fresh,
      ...(this.#stopped.has(id) ? stopMark : {}),
      CreateIndex: old?.CreateIndex ?? index,
      ModifyIndex: index,
      AllocModifyIndex: index,
    };
    this.#documents.set(id, document);
    this.#own(fresh.NodeID, id);
    if (old?.EvalID !== document.EvalID) this.#evaluate(document, old);
    const change = toChange(document);
    return old && isSamePlace(placementOf(old), change.placement) ? undefined : change;
  }

  /** The agent still lists them, though their documents are as they were or not sound. */
  #recover(nodeId: string): readonly Change[] {
    if (this.#lost.size === 0) return [];
    return [...this.of(nodeId)]
      .filter((id) => this.#lost.has(id))
      .map((id) => this.#documents.get(id))
      .filter((document) => document !== undefined)
      .map((document) => this.#put(document))
      .filter((change) => change !== undefined);
  }

  /** Of what the agent told: a stop that it does not know of is only shown. */
  #isToRun({ ID, DesiredStatus }: AllocationDocument): boolean {
    return DesiredStatus === "run" || this.#stopped.has(ID);
  }

  #own(nodeId: string, id: string): void {
    const ids = this.#ofNode.get(nodeId);
    if (ids) ids.add(id);
    else this.#ofNode.set(nodeId, new Set([id]));
  }

  #evaluate(document: AllocationDocument, old: AllocationDocument | undefined): void {
    if (old) this.evaluations.release(old.EvalID);
    if (this.evaluations.hold(document, document.ModifyIndex)) this.#needs.indexes.touch("evals");
  }

  #remove(nodeId: string, id: string): Change {
    const document = this.#documents.get(id);
    this.#documents.delete(id);
    this.#ofNode.get(nodeId)?.delete(id);
    this.#stopped.delete(id);
    this.#lost.delete(id);
    this.#needs.indexes.touch("allocs");
    if (document && this.evaluations.release(document.EvalID)) this.#needs.indexes.touch("evals");
    return { kind: "allocation_gone", id };
  }
}
