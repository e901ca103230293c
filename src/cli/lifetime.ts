/**
 * A process' life: SIGHUP reads again, the first SIGTERM or SIGINT ends in order, a second one at once. It is heard from the
 * very start, so that a signal during a slow start is kept and acted on.
 */

export interface Living {
  readonly reload: () => Promise<void>;
  readonly stop: () => Promise<void>;
}

export interface Lifetime {
  /** Aborts when the process was told to stop. */
  readonly stopping: AbortSignal;
  /** Resolves when the process was told to stop (maybe it was already) and has stopped in order. */
  live(living: Living): Promise<void>;
}

export const say = (words: string): void => {
  process.stderr.write(`${words}\n`);
};

const stopSignals = ["SIGINT", "SIGTERM"] as const;
/** A parent that owns this process (`serai dev` its agents) has ended: the channel to it has closed. */
const parentGone = "disconnect";

const endInOrder = async (stop: () => Promise<void>): Promise<void> => {
  try {
    await stop();
  } catch (error) {
    say(`stopping failed: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
  if (process.connected) process.disconnect(); // an open channel would keep the process
};

/** Call it first. */
export const beginLifetime = (): Lifetime => {
  const told = new AbortController();
  const end = (): void => {
    if (told.signal.aborted) process.exit(1);
    told.abort();
  };
  for (const signal of stopSignals) process.on(signal, end);
  process.once(parentGone, () => told.abort());
  return {
    stopping: told.signal,
    async live({ reload, stop }) {
      process.on("SIGHUP", () => {
        reload().catch((error: unknown) =>
          say(`reading the settings again failed: ${String(error)}`),
        );
      });
      if (!told.signal.aborted)
        await new Promise((resolve) =>
          told.signal.addEventListener("abort", resolve, { once: true }),
        );
      await endInOrder(stop);
    },
  };
};

const parentPollMs = 500;

/** For `npm run`: npm cannot pass on its own sudden death, so its child looks whether its parent is still there. */
export const watchParent = (onGone: () => void): (() => void) => {
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    onGone();
  }, parentPollMs);
  timer.unref();
  return () => clearInterval(timer);
};
