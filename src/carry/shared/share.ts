/**
 * One followed log for many viewers. Each comes with a follow of its own; when the ring has all behind the place where it
 * stands, it becomes a member and lets go of that. The agent is asked with the right of one viewer, the host; when it leaves or
 * is refused another one takes its place, and the follow goes on at the byte where it stood.
 */
import type { GatewayError } from "../../errors.ts";
import type { Wheel } from "../../lib/wheel.ts";
import { Member, type MemberNeeds } from "./member.ts";
import { Ring } from "./ring.ts";
import { Upstream, type UpstreamEvents } from "./upstream.ts";
import type { Viewer } from "./viewer.ts";

export interface ShareOptions {
  readonly ringBytes: number;
}

export interface ShareNeeds {
  readonly beats: Wheel;
  /** False when there are as many rings as there may be. */
  readonly takeRing: () => boolean;
  /** The last viewer has left; `hadRing`: one that was taken is free. */
  readonly emptied: (hadRing: boolean) => void;
}

/** Members that are fed in one turn of the loop. */
const fedAtOnce = 256;
/** A follow that breaks is opened anew; after so many in a row that lived no longer, it is not. */
const soundMs = 10_000;
const maxStrikes = 2;
/** Until a follow is tried again that could not be opened, or that nobody kept up with. */
const pauseMs = 10_000;
/** So many rings pass without a member before nobody is taken to keep up. */
const maxUnreadRings = 16;

export class Share {
  readonly #needs: ShareNeeds;
  readonly #ringBytes: number;
  readonly #viewers = new Set<Viewer>();
  /** Each with what stops its heartbeats. */
  readonly #members = new Map<Member, () => void>();
  #ring: Ring;
  /** A lone viewer needs none. */
  #hasRing = false;
  #upstream: Upstream | undefined;
  #isOver = false;
  #strikes = 0;
  #notBeforeMs = Number.NEGATIVE_INFINITY;
  #unreadBytes = 0;
  #doubts = 0;
  /** The members still to be fed in this round, and what was there when it began. */
  #round: Iterator<Member> | undefined;
  #roundTo = 0;

  constructor(needs: ShareNeeds, { ringBytes }: ShareOptions) {
    this.#needs = needs;
    this.#ringBytes = ringBytes;
    this.#ring = new Ring(ringBytes);
  }

  get isOpen(): boolean {
    return this.#upstream !== undefined;
  }

  get members(): number {
    return this.#members.size;
  }

  /** How often a file was truncated or deleted: a stand of before says no more which byte is meant. */
  get doubts(): number {
    return this.#doubts;
  }

  /** A viewer's heartbeats while it has no follow of its own; the answer ends them, once. */
  beats(viewer: Viewer): () => void {
    return viewer.parameters.plain ? () => undefined : this.#needs.beats(viewer);
  }

  add(viewer: Viewer): void {
    this.#viewers.add(viewer);
  }

  remove(viewer: Viewer): void {
    this.#viewers.delete(viewer);
    if (this.#upstream?.host === viewer) this.#openAnew(viewer);
    if (this.#viewers.size === 0) this.#needs.emptied(this.#hasRing);
  }

  /** Makes a viewer a member when the ring has all behind its stand. Where two are, a shared follow is opened. */
  join(viewer: Viewer): Member | undefined {
    const { stand } = viewer;
    if (stand === undefined || viewer.isBlocked || this.#isOver) return undefined;
    if (this.#upstream === undefined) {
      if (this.#mayOpen()) this.#open(viewer);
      return undefined;
    }
    const cursor = this.#ring.find(stand);
    if (cursor === undefined) return undefined;
    const member = new Member(viewer, cursor, this.#membership);
    this.#members.set(member, this.beats(viewer));
    this.#unreadBytes = 0;
    this.#flowOn(); // all others may stand still
    return member;
  }

  #mayOpen(): boolean {
    if (this.#viewers.size < 2 || performance.now() < this.#notBeforeMs) return false;
    this.#hasRing ||= this.#needs.takeRing();
    return this.#hasRing;
  }

  /* ---- members ---- */

  /** The same for all: a member costs little else. */
  readonly #membership: MemberNeeds = {
    ring: () => this.#ring,
    ready: (member) => {
      this.#partIfOver(member);
      this.#flowOn();
    },
    left: (member) => {
      this.#members.get(member)?.();
      this.#members.delete(member);
      this.#flowOn();
    },
  };

  #partIfOver(member: Member): void {
    if (this.#isOver && member.isAtHead) member.part("ended");
  }

  /** Feeds all, some in each turn of the loop. */
  #feedAll(): void {
    if (this.#round !== undefined) return;
    this.#round = this.#members.keys();
    this.#roundTo = this.#ring.next;
    this.#feedSome();
  }

  readonly #feedSome = (): void => {
    for (let fed = 0; fed < fedAtOnce; fed++) {
      const { value: member } = this.#round?.next() ?? {};
      if (member === undefined) {
        this.#roundEnded();
        return;
      }
      member.feed();
      this.#partIfOver(member);
    }
    setImmediate(this.#feedSome);
  };

  #roundEnded(): void {
    this.#round = undefined;
    if (this.#roundTo === this.#ring.next) this.#flowOn();
    else this.#feedAll();
  }

  /* ---- the follow at the agent ---- */

  /** The agent goes on as fast as the fastest member: nobody waits for the slower ones. */
  get #mayFlow(): boolean {
    if (this.#round !== undefined) return false;
    return this.#members.size === 0 || this.#members.keys().some(({ isReady }) => isReady);
  }

  #flowOn(): void {
    if (this.#upstream !== undefined && this.#mayFlow) this.#upstream.resume();
  }

  readonly #events: UpstreamEvents = {
    entry: (entry) => {
      this.#ring.append(entry);
      if (entry.event !== undefined) this.#doubts += 1;
      if (this.#members.size === 0) this.#unreadBytes += entry.bytes.length;
    },
    heard: () => {
      this.#feedAll();
      if (this.#unreadBytes > maxUnreadRings * this.#ringBytes) this.#rest();
      return this.#mayFlow;
    },
    over: (upstream, error) => {
      this.#upstream = undefined;
      if (error !== undefined) this.#broke(upstream, error);
      else {
        this.#isOver = true;
        this.#roundTo = -1; // those that a round has passed already are to be parted, too
        this.#feedAll();
      }
    },
  };

  #open(host: Viewer): void {
    const after = this.#ring.head;
    this.#upstream = new Upstream(host, { after, ringBytes: this.#ringBytes }, this.#events);
  }

  /** Closes it; it may be opened again from the log's end, later. */
  #rest(): void {
    this.#upstream?.close();
    this.#upstream = undefined;
    this.#ring = new Ring(this.#ringBytes);
    this.#unreadBytes = 0;
    this.#notBeforeMs = performance.now() + pauseMs;
  }

  /** With another viewer's right, from where it stood. */
  #openAnew(left: Viewer): void {
    this.#upstream?.close();
    this.#upstream = undefined;
    const hosts = this.#members.keys().map(({ viewer }) => viewer);
    const host = hosts.find((viewer) => viewer !== left);
    if (host !== undefined) this.#open(host);
    else this.#ring = new Ring(this.#ringBytes);
  }

  #broke(upstream: Upstream, error: GatewayError): void {
    const [...members] = this.#members.keys();
    const [first] = members;
    if (first === undefined) {
      this.#rest();
      return;
    }
    const { host } = upstream;
    if (error.code === "permission_denied") {
      for (const member of members) if (member.viewer === host) member.part("alone");
      this.#openAnew(host);
      return;
    }
    const next = members.find(({ viewer }) => viewer !== host) ?? first;
    if (this.#mayTryAnew(upstream)) this.#open(next.viewer);
    else for (const member of members) member.fail(error);
  }

  /** One that stood is opened anew at once; not one that could not be, nor those that break again and again. */
  #mayTryAnew({ hasHeard, openedAtMs }: Upstream): boolean {
    const isSound = performance.now() - openedAtMs > soundMs;
    this.#strikes = isSound ? 0 : this.#strikes + 1;
    return hasHeard && this.#strikes <= maxStrikes;
  }
}
