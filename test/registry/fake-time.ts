/** Time that a test moves: clock and timers in one. */
import type { Clock } from "../../src/ports.ts";
import type { Cancel, Timers } from "../../src/registry/timers.ts";

interface Timer {
  readonly at: number;
  readonly run: () => void;
}

export class FakeTime implements Clock, Timers {
  #now = 1_000;
  #epoch: number;
  readonly #timers = new Set<Timer>();

  constructor(epochMs = 1_795_315_433_863) {
    this.#epoch = epochMs;
  }

  now(): number {
    return this.#epoch + this.#now;
  }

  monotonic(): number {
    return this.#now;
  }

  after(ms: number, run: () => void): Cancel {
    const timer = { at: this.#now + ms, run };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Timers that wait: a part that was closed leaves none. */
  get waiting(): number {
    return this.#timers.size;
  }

  /** Milliseconds until each timer that waits. */
  get delays(): readonly number[] {
    return [...this.#timers].map(({ at }) => at - this.#now).toSorted((a, b) => a - b);
  }

  /** Moves on, running what falls due in order. */
  advance(ms: number): void {
    const until = this.#now + ms;
    for (;;) {
      const [due] = [...this.#timers]
        .filter(({ at }) => at <= until)
        .toSorted((a, b) => a.at - b.at);
      if (due === undefined) break;
      this.#now = Math.max(this.#now, due.at);
      this.#timers.delete(due);
      due.run();
    }
    this.#now = until;
  }

  /** The wall clock is set; no time passes. */
  step(ms: number): void {
    this.#epoch += ms;
  }

  /** Moves on at one blow, as a process does that was stopped: what fell due meanwhile runs late. */
  stall(ms: number): void {
    this.#now += ms;
    for (const timer of [...this.#timers])
      if (timer.at <= this.#now && this.#timers.delete(timer)) timer.run();
  }
}
