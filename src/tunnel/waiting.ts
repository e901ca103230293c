/** Who waits for a node's tunnel: bounded in number and in time. */
import type { Clock } from "../ports.ts";

export interface WaitingOptions {
  /** Milliseconds after which nobody waits any longer. */
  readonly waitMs: number;
  /** Of one node. */
  readonly maxWaiting: number;
}

export interface Waiting {
  /** When a wait that begins now is over, in monotonic milliseconds. */
  readonly untilMs: number;
  /** Calls back once: when woken, or when the wait is over. Returns how to give up. */
  add(nodeId: string, untilMs: number, then: () => void): () => void;
  isFull(nodeId: string): boolean;
  wake(nodeId: string): void;
  wakeAll(): void;
  /** Of all nodes. */
  readonly size: number;
}

export const createWaiting = (
  { monotonic }: Pick<Clock, "monotonic">,
  { waitMs, maxWaiting }: WaitingOptions,
): Waiting => {
  const queues = new Map<string, Set<() => void>>();
  const wakeThose = (queue: ReadonlySet<() => void> | undefined): void => {
    for (const wake of [...(queue ?? [])]) wake();
  };
  return {
    get untilMs() {
      return monotonic() + waitMs;
    },
    add(nodeId, untilMs, then) {
      const queue = queues.get(nodeId) ?? new Set();
      queues.set(nodeId, queue);
      const done = (): void => {
        clearTimeout(timer);
        queue.delete(wake);
        if (queue.size === 0 && queues.get(nodeId) === queue) queues.delete(nodeId);
      };
      const wake = (): void => {
        done();
        then();
      };
      const timer = setTimeout(wake, untilMs - monotonic());
      queue.add(wake);
      return done;
    },
    isFull: (nodeId) => (queues.get(nodeId)?.size ?? 0) >= maxWaiting,
    wake: (nodeId) => wakeThose(queues.get(nodeId)),
    wakeAll: () => [...queues.values()].forEach(wakeThose),
    get size() {
      let total = 0;
      for (const queue of queues.values()) total += queue.size;
      return total;
    },
  };
};
