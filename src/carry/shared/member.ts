/** A viewer in a shared follow: its place in the ring, and how it leaves. */
import { GatewayError, toGatewayError } from "../../errors.ts";
import type { Cursor, Ring } from "./ring.ts";
import type { Source, Viewer } from "./viewer.ts";

/** `ended`: the log is over and it has all. `alone`: it goes on by itself from where it stands. */
export type Parting = "ended" | "alone";

export interface MemberNeeds {
  readonly ring: () => Ring;
  /** It has room and has had all that is there. */
  readonly ready: (member: Member) => void;
  /** Told once. */
  readonly left: (member: Member) => void;
}

export const overtaken = (): GatewayError =>
  new GatewayError("gone", {
    text: "the log is lost where its reader stood: a file was truncated or deleted, and the reader was too slow to be told",
  });

export class Member implements Source {
  readonly viewer: Viewer;
  readonly #needs: MemberNeeds;
  readonly #cursor: Cursor;
  readonly #parting = Promise.withResolvers<Parting>();
  #isHere = true;

  constructor(viewer: Viewer, cursor: Cursor, needs: MemberNeeds) {
    this.viewer = viewer;
    this.#cursor = cursor;
    this.#needs = needs;
    viewer.source = this;
    viewer.carrying.exchange.signal.addEventListener("abort", this);
  }

  /** Rejects when it is cut. */
  get parting(): Promise<Parting> {
    return this.#parting.promise;
  }

  get isReady(): boolean {
    return !this.viewer.isBlocked;
  }

  /** It has had all that is there. */
  get isAtHead(): boolean {
    return this.#cursor.nth === this.#needs.ring().next;
  }

  /**
   * Gives it what it takes of what is there. One whose place has fallen off the ring goes on by itself; it is cut when what it
   * has not seen tells of a file that is not what it was.
   */
  feed(): void {
    const ring = this.#needs.ring();
    try {
      while (this.#isHere && !ring.hasLost(this.#cursor)) {
        const entry = this.isReady ? ring.at(this.#cursor.nth) : undefined;
        if (entry === undefined) return;
        const { skip } = this.#cursor;
        this.#cursor.nth += 1;
        this.#cursor.skip = 0;
        this.viewer.take(entry, skip);
      }
      if (this.#isHere && ring.isUnsureFrom(this.#cursor)) throw overtaken();
      this.part("alone");
    } catch (error) {
      this.fail(toGatewayError(error));
    }
  }

  part(how: Parting): void {
    if (this.#leave()) this.#parting.resolve(how);
  }

  /* ---- the viewer's verbs ---- */

  resume(): void {
    this.feed();
    if (this.#isHere && this.isReady) this.#needs.ready(this);
  }

  fail(error: GatewayError): void {
    if (this.#leave()) this.#parting.reject(error);
  }

  /** Its exchange was ended. */
  handleEvent(): void {
    const { signal } = this.viewer.carrying.exchange;
    this.fail(toGatewayError(signal.reason, signal));
  }

  #leave(): boolean {
    if (!this.#isHere) return false;
    this.#isHere = false;
    this.viewer.source = undefined;
    this.viewer.carrying.exchange.signal.removeEventListener("abort", this);
    this.#needs.left(this);
    return true;
  }
}
