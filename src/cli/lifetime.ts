/** A process' life: SIGHUP reads again, the first SIGTERM or SIGINT ends in order, a second one at once. */

export interface Lifetime {
  readonly reload: () => Promise<void>;
  readonly stop: () => Promise<void>;
  /** Words for people, on stderr. */
  readonly tell: (words: string) => void;
}

export const say = (words: string): void => {
  process.stderr.write(`${words}\n`);
};

const stopSignals = ["SIGINT", "SIGTERM"] as const;
/** Also when a parent that owns this process ends: its channel closes. */
const parentGone = "disconnect";

/** Resolves when the process was told to stop and has stopped in order. */
export const liveUntilStopped = ({ reload, stop, tell }: Lifetime): Promise<void> =>
  new Promise((resolve) => {
    let stopping = false;
    const end = (): void => {
      if (stopping) process.exit(1);
      stopping = true;
      stop()
        .catch((error: unknown) => tell(`stopping failed: ${String(error)}`))
        .finally(() => {
          if (process.connected) process.disconnect(); // an open channel would keep the process
          resolve();
        });
    };
    for (const signal of stopSignals) process.on(signal, end);
    process.once(parentGone, () => {
      if (!stopping) end();
    });
    process.on("SIGHUP", () => {
      reload().catch((error: unknown) =>
        tell(`reading the settings again failed: ${String(error)}`),
      );
    });
  });

/** For `npm run`: npm does not pass on its own sudden death, so its child looks whether its parent is still there. */
export const watchParent = (onGone: () => void): (() => void) => {
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    onGone();
  }, 500);
  timer.unref();
  return () => clearInterval(timer);
};
