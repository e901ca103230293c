/**
 * Deadlines that nearly all are taken back before they pass: those of one length share a timer, so that one costs a number and
 * not a timer of its own. It is waited for by nobody: whoever has a deadline has a connection too.
 */

/** What a deadline passes for; it must not throw. */
export interface Due {
  /** Called once, when the deadline was not taken back before. */
  passed(): void;
}

/** Deadlines of one length, in the order in which they pass. */
class Line {
  readonly #ms: number;
  readonly #dueAtMs = new Map<Due, number>();
  #timer: NodeJS.Timeout | undefined;

  constructor(ms: number) {
    this.#ms = ms;
  }

  add(due: Due): void {
    this.#dueAtMs.set(due, performance.now() + this.#ms);
    this.#timer ??= setTimeout(this.#look, this.#ms).unref();
  }

  delete(due: Due): void {
    this.#dueAtMs.delete(due);
  }

  readonly #look = (): void => {
    this.#timer = undefined;
    for (const [due, atMs] of this.#dueAtMs) {
      const leftMs = atMs - performance.now();
      if (leftMs > 0) {
        this.#timer = setTimeout(this.#look, leftMs).unref();
        return;
      }
      this.#dueAtMs.delete(due);
      due.passed();
    }
  };
}

/** Lengths come from settings: they are few. */
export class Deadlines {
  readonly #lines = new Map<number, Line>();

  /** Each may have one at a time. */
  set(due: Due, ms: number): void {
    let line = this.#lines.get(ms);
    if (line === undefined) {
      line = new Line(ms);
      this.#lines.set(ms, line);
    }
    line.add(due);
  }

  /** Takes one back that may have passed. */
  clear(due: Due, ms: number): void {
    this.#lines.get(ms)?.delete(due);
  }
}
