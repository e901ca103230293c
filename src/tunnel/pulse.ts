/** Whether the other end of a tunnel lives, told from what passes. */
import type { Http2Session } from "node:http2";

/** Looks in the time after which silence is death. */
export const looksInTimeout = 10;
const answerLooks = looksInTimeout - 1;
/** A heartbeat that less than this could be in front of, has to be answered in time: 4 s at 4 KiB/s. */
const clearBytes = 16 * 1024;

/**
 * Judges at each look. A byte that comes in is a sign of life, and no answer to a heartbeat is none of death while much may be
 * in front of it: a slow line is no dead one. And as node reads nothing from a session whose write waits for the line, a
 * write that waited and went on is a sign of life, too. Time is counted in looks: in which this process stood still, nobody
 * was silent.
 */
export class Pulse {
  readonly #session: Http2Session;
  /** On their way: when they were sent, and how much had passed by then. */
  readonly #heartbeats: { readonly look: number; readonly passed: number }[] = [];
  #looks = 0;
  #read = 0;
  #written = 0;
  #answeredPassed = 0;
  #silentLooks = 0;
  #isWaiting = false;
  #isStuck = false;

  constructor(session: Http2Session) {
    this.#session = session;
  }

  sent(): void {
    this.#heartbeats.push({ look: this.#looks, passed: this.#read + this.#written });
  }

  answered(): void {
    this.#answeredPassed = this.#heartbeats.shift()?.passed ?? this.#answeredPassed;
  }

  look(): "alive" | "silent" | "stuck" {
    const { bytesRead = 0, bytesWritten = 0 } = this.#session.socket ?? {};
    const isWaiting = (this.#session.state.outboundQueueSize ?? 0) > 0;
    const hasMoved = bytesWritten !== this.#written;
    const isAlive = bytesRead !== this.#read || (this.#isStuck && hasMoved);
    this.#isStuck = this.#isWaiting && isWaiting && !hasMoved; // waiting once is a frame of this very moment
    this.#isWaiting = isWaiting;
    this.#read = bytesRead;
    this.#written = bytesWritten;
    this.#looks += 1;
    this.#silentLooks = isAlive ? 0 : this.#silentLooks + 1;
    if (this.#silentLooks >= looksInTimeout) return this.#isStuck ? "stuck" : "silent";
    return this.#isUnanswered() ? "silent" : "alive";
  }

  get silentLooks(): number {
    return this.#silentLooks;
  }

  #isUnanswered(): boolean {
    const oldest = this.#heartbeats[0];
    if (oldest === undefined || this.#looks - oldest.look < answerLooks) return false;
    return this.#read + this.#written - this.#answeredPassed < clearBytes;
  }
}
