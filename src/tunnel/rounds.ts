/** One timer for what all tunnels of a hub have to do as often: each by its own would wake the process a thousand times a second. */

export interface Rounds {
  /** Calls `work` each round; returns how to stop. It must not throw. */
  join(work: () => void): () => void;
}

/** The timer runs while somebody has joined, and keeps no process alive. */
export const createRounds = (everyMs: number): Rounds => {
  const members = new Set<() => void>();
  let timer: NodeJS.Timeout | undefined;
  const round = (): void => {
    for (const work of members) work();
  };
  const leave = (work: () => void): void => {
    members.delete(work);
    if (members.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
  return {
    join(work) {
      members.add(work);
      timer ??= setInterval(round, everyMs).unref();
      return () => leave(work);
    },
  };
};
