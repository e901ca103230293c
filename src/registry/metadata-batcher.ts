/**
 * Brings changed metadata into the node registry: a node that was written to is dirty, and once a window every dirty node
 * is asked for its whole merged document, which is written in one write. The agent is the truth; nothing here needs to
 * survive a crash, because every node is asked anew when it announces itself again.
 */
import type { Log } from "../ports.ts";
import type { Meta } from "./meta.ts";
import type { Cancel, Timers } from "./timers.ts";

export interface BatcherObserver {
  batched(batch: { readonly size: number; readonly result: "ok" | "partial" | "failed" }): void;
  /** From the first update to the write, in milliseconds. */
  applied(delayMs: number): void;
}

export interface BatcherNeeds {
  readonly timers: Timers;
  /** Monotonic milliseconds. */
  readonly monotonic: () => number;
  /** In [0, 1). */
  readonly random: () => number;
  readonly log: Log;
  /** Nodes that can be asked; others are not remembered. */
  readonly isKnown: (nodeId: string) => boolean;
  /** The node's merged metadata now. */
  readonly ask: (nodeId: string, signal: AbortSignal) => Promise<Meta>;
  /** Writes to the node registry; false when nothing changed. */
  readonly write: (nodeId: string, meta: Meta) => boolean;
  readonly observe: BatcherObserver;
}

export interface BatcherOptions {
  /** No update waits longer for its batch. */
  readonly intervalMs: number;
  /** Share of the interval by which a window may be shorter, so that gateways do not ask in step. */
  readonly jitter: number;
  /** Nodes asked at once. */
  readonly concurrency: number;
  readonly askTimeoutMs: number;
}

const batcherDefaults: BatcherOptions = {
  intervalMs: 10_000,
  jitter: 0.1,
  concurrency: 32,
  askTimeoutMs: 5_000,
};

const tooLate = new Error("the agent did not answer in time");

export class MetadataBatcher {
  readonly #needs: BatcherNeeds;
  readonly #options: BatcherOptions;
  /** Since when each node is dirty. */
  readonly #dirty = new Map<string, number>();
  /** Number of the newest answer written for a node, while older ones are under way. */
  readonly #written = new Map<string, number>();
  /** In how many batches each node is whose answer there is still to come. */
  readonly #asking = new Map<string, number>();
  readonly #closing = new AbortController();
  #asked = 0;
  #cancelWindow: Cancel | undefined;

  constructor(needs: BatcherNeeds, options: Partial<BatcherOptions> = {}) {
    this.#needs = needs;
    this.#options = { ...batcherDefaults, ...options };
  }

  /** Nodes whose change is not in the registry yet: they wait for a batch, or for their answer in one. */
  get pending(): number {
    return new Set([...this.#dirty.keys(), ...this.#asking.keys()]).size;
  }

  /** A node's metadata changed, or may have. */
  touch(nodeId: string): void {
    if (this.#closing.signal.aborted || !this.#needs.isKnown(nodeId)) return;
    if (!this.#dirty.has(nodeId)) this.#dirty.set(nodeId, this.#needs.monotonic());
    this.#openWindow();
  }

  /** Asks every dirty node now. What fails stays dirty. */
  async flush(signal: AbortSignal): Promise<void> {
    this.#cancelWindow?.();
    this.#cancelWindow = undefined;
    await this.#batch(AbortSignal.any([signal, this.#closing.signal]));
  }

  /** Flushes as far as the signal's patience goes, then stops for good. */
  async close(signal: AbortSignal): Promise<void> {
    await this.flush(signal);
    this.#closing.abort();
    this.#cancelWindow?.();
    this.#cancelWindow = undefined;
  }

  #openWindow(): void {
    if (this.#closing.signal.aborted || this.#cancelWindow) return;
    const { intervalMs, jitter } = this.#options;
    const windowMs = intervalMs * (1 - jitter * this.#needs.random());
    this.#cancelWindow = this.#needs.timers.after(windowMs, () => {
      this.#cancelWindow = undefined;
      void this.#batch(this.#closing.signal); // settles for every failure
    });
  }

  async #batch(signal: AbortSignal): Promise<void> {
    // the youngest first: what could not be asked before may take its whole time again
    const batch = [...this.#dirty].sort(([, one], [, other]) => other - one);
    this.#dirty.clear();
    if (batch.length === 0) return;
    for (const [nodeId] of batch) this.#asking.set(nodeId, (this.#asking.get(nodeId) ?? 0) + 1);
    const queue = batch.values();
    let failures = 0;
    const worker = async (): Promise<void> => {
      for (const [nodeId, since] of queue)
        if (!(await this.#apply(nodeId, since, signal))) failures++;
    };
    const workers = Math.min(this.#options.concurrency, batch.length);
    await Promise.all(Array.from({ length: workers }, worker));
    const result = failures === 0 ? "ok" : failures < batch.length ? "partial" : "failed";
    this.#needs.observe.batched({ size: batch.length, result });
    if (this.#dirty.size > 0) this.#openWindow();
  }

  /** False when the node has to be asked again. */
  async #apply(nodeId: string, since: number, signal: AbortSignal): Promise<boolean> {
    const number = ++this.#asked;
    try {
      const meta = await this.#askInTime(nodeId, signal);
      if ((this.#written.get(nodeId) ?? 0) > number) return true; // a newer answer came first
      this.#written.set(nodeId, number);
      this.#needs.write(nodeId, meta);
      this.#needs.observe.applied(this.#needs.monotonic() - since);
      return true;
    } catch (error) {
      this.#needs.log.debug({ node: nodeId, err: error }, "the node's metadata cannot be read now");
      if (this.#needs.isKnown(nodeId))
        this.#dirty.set(nodeId, Math.min(since, this.#dirty.get(nodeId) ?? since));
      return false;
    } finally {
      this.#answered(nodeId);
    }
  }

  #answered(nodeId: string): void {
    const left = (this.#asking.get(nodeId) ?? 1) - 1;
    if (left > 0) {
      this.#asking.set(nodeId, left);
      return;
    }
    this.#asking.delete(nodeId);
    this.#written.delete(nodeId);
  }

  async #askInTime(nodeId: string, signal: AbortSignal): Promise<Meta> {
    const late = new AbortController();
    const cancel = this.#needs.timers.after(this.#options.askTimeoutMs, () => late.abort(tooLate));
    try {
      const either = AbortSignal.any([signal, late.signal]);
      either.throwIfAborted();
      return await this.#needs.ask(nodeId, either);
    } finally {
      cancel();
    }
  }
}
