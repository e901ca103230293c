/**
 * Deadlines that nearly all are taken back before they pass: those of one length share a timer, so that one costs a number and
 * not a timer of its own. It is waited for by nobody: whoever has a deadline has a connection too.
 */

/** What a deadline passes for. */
export interface Due {
  /** Called once, when the deadline was not taken back before; it must not throw. */
  passed(): void;
  /** Written by its line alone. */
  standing?: Standing | undefined;
}

/** A place in a line. */
interface Standing {
  readonly due: Due;
  readonly atMs: number;
  before: Standing | undefined;
  behind: Standing | undefined;
}

/** Deadlines of one length, in the order in which they pass: linked, and no Map, for what lib/bag.ts tells. */
class Line {
  readonly #ms: number;
  #first: Standing | undefined;
  #last: Standing | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(ms: number) {
    this.#ms = ms;
  }

  add(due: Due): void {
    const before = this.#last;
    const standing: Standing = {
      due,
      atMs: performance.now() + this.#ms,
      before,
      behind: undefined,
    };
    due.standing = standing;
    this.#last = standing;
    if (before === undefined) this.#first = standing;
    else before.behind = standing;
    this.#timer ??= this.#timerOf(standing);
  }

  /** What has left points nowhere: once it is old it would keep alive whatever it points to. */
  delete(due: Due): void {
    const { standing } = due;
    if (standing === undefined) return;
    const { before, behind } = standing;
    if (before === undefined) this.#first = behind;
    else before.behind = behind;
    if (behind === undefined) this.#last = before;
    else behind.before = before;
    standing.before = undefined;
    standing.behind = undefined;
    due.standing = undefined;
  }

  readonly #look = (): void => {
    // what came while this process stood still is read first: it may take deadlines back
    setImmediate(this.#pass);
  };

  /** The timer that calls it stands until the next is known: what is set meanwhile starts none of its own. */
  readonly #pass = (): void => {
    try {
      for (let first = this.#first; first !== undefined; first = this.#first) {
        if (first.atMs > performance.now()) break;
        this.delete(first.due);
        first.due.passed();
      }
    } finally {
      this.#timer = this.#first && this.#timerOf(this.#first);
    }
  };

  #timerOf({ atMs }: Standing): NodeJS.Timeout {
    return setTimeout(this.#look, Math.max(0, atMs - performance.now())).unref();
  }
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
