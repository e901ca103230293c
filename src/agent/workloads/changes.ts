/** The agent's index: rises with every change; blocking reads wait on it. */

export interface Changes {
  readonly index: number;
  /** The next index; wakes who waits. */
  next(): number;
  /** Resolves when the index passes `index`, or the signal aborts. */
  passed(index: number, signal: AbortSignal): Promise<void>;
}

export const createChanges = (first: number): Changes => {
  let current = first;
  const waiting = new Set<{ readonly index: number; readonly wake: () => void }>();
  return {
    get index() {
      return current;
    },
    next: () => {
      current++;
      for (const waiter of waiting) if (current > waiter.index) waiter.wake();
      return current;
    },
    passed: (index, signal) => {
      if (current > index || signal.aborted) return Promise.resolve();
      return new Promise((resolve) => {
        const waiter = {
          index,
          wake: () => {
            waiting.delete(waiter);
            signal.removeEventListener("abort", waiter.wake);
            resolve();
          },
        };
        waiting.add(waiter);
        signal.addEventListener("abort", waiter.wake, { once: true });
      });
    },
  };
};
