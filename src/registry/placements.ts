/**
 * What is known of every allocation, packed: the table holds an id's node, its workload (namespace, job, group) and how it
 * ended as two numbers; nodes and workloads are interned. Entries carry the epoch in which they were last told, so that a
 * new whole picture drops what it does not name without a second table, however often it is begun before it is whole.
 */
import type { Placement } from "../ports.ts";
import { readWords } from "./id-words.ts";
import { Interned } from "./interned.ts";
import { PackedTable } from "./packed-table.ts";

type Workload = Pick<Placement, "namespace" | "jobId" | "taskGroup">;
type Terminal = Placement["terminal"];

const terminals: readonly Terminal[] = [undefined, "complete", "failed", "lost"];
const terminalMask = 0b011;
const epochShift = 2;
/** Pictures that may be begun one after the other without becoming whole; the next one takes the last one's epoch over. */
const epochs = 64;
const epochMask = (epochs - 1) << epochShift;
const nodeShift = 8;

/** Lengths lead, so that no choice of names makes two workloads one. */
const workloadKey = ({ namespace, jobId, taskGroup }: Workload): string =>
  `${namespace.length}:${jobId.length}:${namespace}${jobId}${taskGroup}`;

export class Placements {
  readonly #table: PackedTable;
  readonly #nodes = new Interned<string>();
  readonly #workloads = new Interned<Workload>();
  readonly #words = new Uint32Array(4);
  readonly #values = new Uint32Array(2);
  readonly #max: number;
  #epoch = 0;
  /** Pictures begun since one was whole. */
  #begun = 0;
  /** False between `newEpoch` and `settle`: entries of the old epoch still count. */
  #settled = true;
  /** Shards below this number hold no entry of an old epoch. */
  #swept: number;

  constructor(seed: Uint8Array, max: number) {
    this.#table = new PackedTable(seed);
    this.#swept = this.#table.shards;
    this.#max = max;
  }

  get size(): number {
    return this.#table.size;
  }

  get workloads(): number {
    return this.#workloads.size;
  }

  get(id: string): Placement | undefined {
    if (!readWords(id, this.#words) || !this.#held()) return undefined;
    const { namespace, jobId, taskGroup } = this.#workload();
    return { id, nodeId: this.#nodeId(), namespace, jobId, taskGroup, terminal: this.#terminal() };
  }

  /** False when the id is none or the bound is reached. */
  set(placement: Placement): boolean {
    if (!readWords(placement.id, this.#words)) return false;
    const replaced = this.#table.get(this.#words, this.#values);
    if (!replaced && this.#table.size >= this.#max) return false;
    const oldWorkload = this.#values[0] ?? 0;
    const oldNode = this.#values[1] ?? 0;
    const { namespace, jobId, taskGroup, nodeId, terminal } = placement;
    const workload = this.#workloads.hold(workloadKey(placement), () => ({
      namespace,
      jobId,
      taskGroup,
    }));
    const node = this.#nodes.hold(nodeId, () => nodeId);
    this.#table.set(
      this.#words,
      workload,
      (node << nodeShift) | this.#epoch | terminals.indexOf(terminal),
    );
    if (replaced) this.#release(oldWorkload, oldNode);
    return true;
  }

  delete(id: string): boolean {
    if (!readWords(id, this.#words) || !this.#table.get(this.#words, this.#values)) return false;
    this.#table.delete(this.#words);
    this.#release(this.#values[0] ?? 0, this.#values[1] ?? 0);
    return true;
  }

  /** From here on entries count as told anew only when set again. */
  newEpoch(): void {
    while (this.sweepOne()); // what the last epoch left, or it would be mistaken for a later one's
    this.#settled = false;
    if (++this.#begun < epochs) this.#epoch = (this.#epoch + (1 << epochShift)) & epochMask;
  }

  /** What was not set since `newEpoch` is gone; `sweepOne` then frees it, a shard a call. */
  settle(): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#begun = 0;
    this.#swept = 0;
  }

  /** True while there is more to sweep. */
  sweepOne(): boolean {
    if (this.#swept === this.#table.shards) return false;
    const stale = (workload: number, node: number): boolean => {
      if ((node & epochMask) === this.#epoch) return false;
      this.#release(workload, node);
      return true;
    };
    this.#table.sweep(this.#swept++, stale);
    return this.#swept < this.#table.shards;
  }

  #held(): boolean {
    if (!this.#table.get(this.#words, this.#values)) return false;
    return !this.#settled || ((this.#values[1] ?? 0) & epochMask) === this.#epoch;
  }

  /* ---- of the entry that was looked up last ---- */

  #workload(): Workload {
    return this.#workloads.value(this.#values[0] ?? 0);
  }

  #nodeId(): string {
    return this.#nodes.value((this.#values[1] ?? 0) >>> nodeShift);
  }

  #terminal(): Terminal {
    return terminals[(this.#values[1] ?? 0) & terminalMask];
  }

  #release(workload: number, node: number): void {
    this.#workloads.release(workload);
    this.#nodes.release(node >>> nodeShift);
  }
}
