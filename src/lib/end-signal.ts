/**
 * An AbortController and its AbortSignal in one small object. There is one with each request and each viewer of a log; Node's own
 * pair weighs some 700 bytes with a listener, and costs a small request as much as its route. `AbortSignal.any` takes Node's alone.
 */
import { withOneMore, without } from "./short-list.ts";

type Heard = NonNullable<Parameters<AbortSignal["addEventListener"]>[1]>;

const tell = (listener: Heard, event: Event): void => {
  if (typeof listener === "function") listener.call(event.target, event);
  else listener.handleEvent(event);
};

export class EndSignal implements AbortSignal {
  #aborted = false;
  #reason: unknown;
  #listeners: readonly Heard[] = [];
  onabort: AbortSignal["onabort"] = null;

  get signal(): AbortSignal {
    return this;
  }

  get aborted(): boolean {
    return this.#aborted;
  }

  get reason(): unknown {
    return this.#reason;
  }

  /** The first reason counts. */
  abort(reason: unknown): void {
    if (this.#aborted) return;
    this.#aborted = true;
    this.#reason = reason;
    this.dispatchEvent(new Event("abort"));
    this.#listeners = [];
  }

  throwIfAborted(): void {
    if (this.#aborted) throw this.#reason;
  }

  /** Only 'abort' is ever told, and once: `once` needs no heeding. */
  addEventListener(_type: string, listener: Heard | null): void {
    if (listener !== null && !this.#aborted && !this.#listeners.includes(listener))
      this.#listeners = withOneMore(this.#listeners, listener);
  }

  removeEventListener(_type: string, listener: Heard | null): void {
    if (listener !== null) this.#listeners = without(this.#listeners, listener);
  }

  /** A listener that throws keeps no other from hearing. */
  dispatchEvent(event: Event): boolean {
    for (const listener of this.#listeners) {
      if (!this.#listeners.includes(listener)) continue; // one that was told has taken it out
      try {
        tell(listener, event);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
    this.onabort?.(event);
    return true;
  }
}
