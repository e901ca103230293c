/** Whoever creates, closes: what was made last is closed first, one after the other. */

interface Closable {
  close(signal: AbortSignal): Promise<void>;
}

export class Closers implements Closable {
  readonly #parts: Closable[] = [];

  /** Takes a part in; gives it back. */
  own<T extends Closable>(part: T): T {
    this.#parts.push(part);
    return part;
  }

  /** Takes in what has another way to be closed. */
  defer(close: (signal: AbortSignal) => unknown): void {
    this.own({ close: async (signal) => void (await close(signal)) });
  }

  /** Closes every part, also when one of them fails; the first failure is thrown at the end. */
  async close(signal: AbortSignal): Promise<void> {
    const failures: unknown[] = [];
    for (const part of this.#parts.splice(0).reverse())
      try {
        await part.close(signal);
      } catch (error) {
        failures.push(error);
      }
    if (failures.length > 0) throw new AggregateError(failures, "some parts could not be closed");
  }
}
