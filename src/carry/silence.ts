/** How long an agent says nothing in the midst of a body. */
export class Silence {
  readonly #over: () => void;
  readonly #timer: NodeJS.Timeout;
  #isOver = false;

  /** `over` is called after so long, and once more each time that it begins anew. */
  constructor(ms: number, over: () => void) {
    this.#over = over;
    this.#timer = setTimeout(this.#ring, ms);
  }

  beginAnew(): void {
    this.#isOver = false;
    this.#timer.refresh();
  }

  stop(): void {
    this.#isOver = false;
    clearTimeout(this.#timer);
  }

  /** What came while this process stood still is read first. */
  readonly #ring = (): void => {
    this.#isOver = true;
    setImmediate(() => {
      if (this.#isOver) this.#over();
    });
  };
}
