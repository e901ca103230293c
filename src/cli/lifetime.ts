/**
 * A process' life: SIGHUP reads again, the first SIGTERM or SIGINT ends in order, a second one at once. All are heard from the
 * very start, so that a signal during a slow start is kept and acted on.
 */
import { readFileSync } from "node:fs";

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

const isBelowNpm = (): boolean => process.env["npm_lifecycle_event"] !== undefined;

/** The name a process goes by; undefined where /proc is missing. */
const nameOf = (pid: number): string | undefined => {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8");
  } catch {
    return undefined;
  }
};

const isChildOfNpm = (): boolean =>
  isBelowNpm() && (nameOf(process.ppid)?.startsWith("npm") ?? true);

/** Ctrl-C reaches npm and its child; npm then passes it on to the child, which so hears it twice. */
const npmEchoMs = 1_000;

/** Call it first. */
export const beginLifetime = (): Lifetime => {
  const told = new AbortController();
  const echoMs = isChildOfNpm() ? npmEchoMs : 0;
  let toldAtMs = 0;
  const end = (): void => {
    const now = performance.now();
    if (told.signal.aborted && now - toldAtMs >= echoMs) process.exit(1);
    if (!told.signal.aborted) toldAtMs = now;
    told.abort();
  };
  for (const signal of stopSignals) process.on(signal, end);
  let reload: Living["reload"] | undefined;
  let isOutdated = false;
  const readAgain = (): void => {
    isOutdated = reload === undefined; // what it has read by then may be what has changed: it is read again once it lives
    reload?.().catch((error: unknown) =>
      say(`reading the settings again failed: ${String(error)}`),
    );
  };
  process.on("SIGHUP", readAgain);
  process.once(parentGone, () => told.abort());
  if (process.connected === false) told.abort(); // it had gone before we could hear of it
  return {
    stopping: told.signal,
    async live(living) {
      reload = living.reload;
      if (isOutdated) readAgain();
      if (!told.signal.aborted)
        await new Promise((resolve) =>
          told.signal.addEventListener("abort", resolve, { once: true }),
        );
      await endInOrder(living.stop);
    },
  };
};

const parentPollMs = 500;

/** A process whose parent ended belongs to process 1; that one is its true parent only where it is npm itself, as in a container. */
const wasOrphaned = (): boolean => process.ppid === 1 && !/^(?:npm|node)/.test(nameOf(1) ?? "npm");

/** For `npm run`: npm cannot pass on its own sudden death, so its child looks whether its parent is still there. */
export const watchNpm = (onGone: () => void): (() => void) => {
  if (!isBelowNpm()) return () => {};
  const parent = wasOrphaned() ? undefined : process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    onGone();
  }, parentPollMs);
  timer.unref();
  return () => clearInterval(timer);
};
