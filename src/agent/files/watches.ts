/**
 * Looks at paths for many streams at once: one watcher and one poll a path, however many follow it. The watcher makes
 * changes known at once, the poll makes sure none is missed (inotify has limits, network file systems have none).
 */
import { type FSWatcher, watch as watchPath } from "node:fs";
import { toBytePath } from "../../lib/percent.ts";

/** Tells each listener what a look found, once for each change. */
export interface Watches<Seen> {
  /** Ended by the answer. `tell` must not throw; the first call comes soon, never before this returns. */
  watch(path: string, tell: (seen: Seen) => void): () => void;
  /** Paths looked at now. */
  readonly size: number;
}

export interface WatchTimes {
  /** Between polls beside a watcher. */
  readonly pollMs: number;
  /** Between polls without one. */
  readonly barePollMs: number;
  /** Least time between two looks. */
  readonly restMs: number;
}

const defaultTimes: WatchTimes = { pollMs: 250, barePollMs: 100, restMs: 20 };

/** How a path is looked at; a look that fails tells nothing. */
export interface Looking<Seen> {
  readonly look: (path: string) => Promise<Seen>;
  readonly isSame: (one: Seen, other: Seen) => boolean;
}

/** A look that takes long is not repeated soon: at most a fifth of the time goes into looking. */
const restFactor = 4;

/** One path. Lives as long as it has listeners. */
class Watch<Seen> {
  readonly #path: string;
  readonly #looking: Looking<Seen>;
  readonly #times: WatchTimes;
  /** Each with what it was told last. */
  readonly #listeners = new Map<(seen: Seen) => void, Seen | undefined>();
  /** Those that came while a look was under way: what it finds may be older than what they know. */
  readonly #late = new Set<(seen: Seen) => void>();
  #seen: Seen | undefined;
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  #dueMs = 0;
  #startedMs = 0;
  #notBeforeMs = 0;
  #busy = false;
  #again = false;
  #closed = false;

  constructor(path: string, looking: Looking<Seen>, times: WatchTimes) {
    this.#path = path;
    this.#looking = looking;
    this.#times = times;
  }

  add(listener: (seen: Seen) => void): void {
    this.#listeners.set(listener, undefined);
    if (this.#busy) this.#late.add(listener);
    this.soon();
  }

  /** True when it was the last one: the watch is closed then. */
  remove(listener: (seen: Seen) => void): boolean {
    this.#late.delete(listener);
    if (!this.#listeners.delete(listener) || this.#listeners.size > 0) return false;
    this.#close();
    return true;
  }

  /** Looks soon; calls while it rests or looks are one. */
  readonly soon = (): void => {
    if (this.#busy) this.#again = true;
    else this.#after(Math.max(0, this.#notBeforeMs - performance.now()));
  };

  #close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#disarm();
  }

  #after(ms: number): void {
    const dueMs = performance.now() + ms;
    if (this.#closed || (this.#timer !== undefined && this.#dueMs <= dueMs)) return;
    clearTimeout(this.#timer);
    this.#dueMs = dueMs;
    this.#timer = setTimeout(this.#run, ms);
  }

  readonly #run = (): void => {
    this.#timer = undefined;
    this.#busy = true;
    this.#again = false;
    this.#startedMs = performance.now();
    this.#arm(); // before the look: a change between the two is then told by the watcher
    this.#looking.look(this.#path).then(this.#saw, this.#rest);
  };

  readonly #saw = (found: Seen): void => {
    const last = this.#seen;
    const seen = last !== undefined && this.#looking.isSame(last, found) ? last : found;
    this.#seen = seen;
    for (const [tell, told] of this.#listeners) {
      if (told === seen || this.#late.has(tell)) continue;
      this.#listeners.set(tell, seen);
      tell(seen);
    }
    this.#rest();
  };

  readonly #rest = (): void => {
    this.#busy = false;
    this.#late.clear();
    const nowMs = performance.now();
    const tookMs = nowMs - this.#startedMs;
    this.#notBeforeMs = nowMs + Math.max(this.#times.restMs, tookMs * restFactor);
    if (this.#again) this.soon();
    else this.#after(this.#watcher ? this.#times.pollMs : this.#times.barePollMs);
  };

  #arm(): void {
    if (this.#watcher || this.#closed) return;
    try {
      const watcher = watchPath(toBytePath(this.#path), { persistent: false });
      watcher.on("error", () => this.#disarm());
      watcher.on("change", (kind) => {
        if (kind === "rename") this.#disarm(); // the path may name another file now: armed anew by the next look
        this.soon();
      });
      this.#watcher = watcher;
    } catch {
      this.#watcher = undefined; // no watcher to be had: the poll is enough
    }
  }

  #disarm(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }
}

export const createWatches = <Seen>(
  looking: Looking<Seen>,
  times: WatchTimes = defaultTimes,
): Watches<Seen> => {
  const watches = new Map<string, Watch<Seen>>();
  return {
    watch(path, tell) {
      const watch = watches.get(path) ?? new Watch(path, looking, times);
      watches.set(path, watch);
      const listener = (seen: Seen): void => tell(seen); // one of its own, so that a function may listen twice
      watch.add(listener);
      return () => {
        if (watch.remove(listener)) watches.delete(path);
      };
    },
    get size() {
      return watches.size;
    },
  };
};
