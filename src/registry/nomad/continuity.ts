/**
 * What the indexes of a stream prove. It can be resumed from an event's own index alone; the first event after that shows
 * whether anything was missed: it is the very event again, or a later one (a gap), or an earlier one (a restored server).
 * No event at all proves nothing, and counts as a gap after a while.
 */
import type { Cancel, Timers } from "../timers.ts";

export type Missed = "gap" | "backwards";

export class Continuity {
  readonly #timers: Timers;
  readonly #resumeMs: number;
  readonly #missed: (how: Missed) => void;
  #last: number | undefined;
  #isUnsure = false;
  #cancelDoubt: Cancel = () => {};

  /** `missed` is told when changes may be missing. */
  constructor(timers: Timers, resumeMs: number, missed: (how: Missed) => void) {
    this.#timers = timers;
    this.#resumeMs = resumeMs;
    this.#missed = missed;
  }

  /** The last event's index, which the stream can be resumed from; undefined when it has to begin anew. */
  get last(): number | undefined {
    return this.#last;
  }

  /** What came before does not count any more. */
  forget(): void {
    this.#last = undefined;
  }

  /** The stream was resumed: its next event decides. */
  doubt(): void {
    this.#isUnsure = true;
    this.#cancelDoubt = this.#timers.after(this.#resumeMs, () => {
      this.#isUnsure = false;
      this.#missed("gap");
    });
  }

  /** The next event decides nothing, or has decided. */
  endDoubt(): void {
    this.#isUnsure = false;
    this.#cancelDoubt();
  }

  /** False for an event that was told before. */
  isNew(index: number): boolean {
    const last = this.#last;
    const wasUnsure = this.#isUnsure;
    this.endDoubt();
    this.#last = index;
    if (last === undefined) return true;
    if (index < last) {
      this.#missed("backwards");
      return true;
    }
    if (wasUnsure && index > last) this.#missed("gap");
    return index > last;
  }
}
