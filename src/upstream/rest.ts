/** How long a connection is kept that nobody uses. */
import type { Head } from "./head.ts";

/** Before the agent gives an idle connection up, this one does. */
const marginMs = 1_000;

/** What an agent says of how long it keeps an idle connection, in milliseconds. */
const hintMs = ({ headers }: Head): number | undefined => {
  const hint = headers["keep-alive"];
  const seconds = typeof hint === "string" ? /timeout=(\d{1,6})/.exec(hint)?.[1] : undefined;
  return seconds === undefined ? undefined : Number(seconds) * 1_000 - marginMs;
};

/** Milliseconds behind this answer; 0 or less: not at all. */
export const keptAfter = (head: Head, keepAliveMs: number): number =>
  head.keepAlive ? Math.min(hintMs(head) ?? keepAliveMs, keepAliveMs) : 0;

/** One timer for a connection's whole life: taking it into use and back costs two numbers. */
export class Rest {
  readonly #over: () => void;
  #timer: NodeJS.Timeout | undefined;
  #untilMs = 0;

  /** `over` may be called while the connection is in use again. */
  constructor(over: () => void) {
    this.#over = over;
  }

  begin(ms: number): void {
    const untilMs = performance.now() + ms;
    if (untilMs < this.#untilMs) this.stop(); // its timer may be too late
    this.#untilMs = untilMs;
    this.#timer ??= setTimeout(this.#look, ms).unref();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  readonly #look = (): void => {
    this.#timer = undefined;
    const leftMs = this.#untilMs - performance.now();
    if (leftMs <= 0) this.#over();
    else this.#timer = setTimeout(this.#look, leftMs).unref();
  };
}
