/** How a way to a node fared: told by whoever dials and carries, read for people. */
import { LRUCache } from "lru-cache";

/** What a connection passes: the dial, the handshake of its TLS, the answers over it. */
export type Step = "dial" | "TLS" | "HTTP";

export interface Fault {
  readonly step: Step;
  /** In the words of a refusal. */
  readonly reason: string;
  readonly agoMs: number;
}

/** Milliseconds ago; undefined: not as long as is remembered. */
export interface Fared {
  readonly connectedAgoMs: number | undefined;
  readonly answeredAgoMs: number | undefined;
  /** The last one, also when all went well since. */
  readonly fault: Fault | undefined;
}

/** One way to one node. Telling it costs a number. */
export class Trail {
  readonly #now: () => number;
  #connectedAtMs: number | undefined;
  #answeredAtMs: number | undefined;
  #fault: { readonly step: Step; readonly reason: string; readonly atMs: number } | undefined;

  constructor(now: () => number) {
    this.#now = now;
  }
  connected(): void {
    this.#connectedAtMs = this.#now();
  }
  answered(): void {
    this.#answeredAtMs = this.#now();
  }
  failed(step: Step, reason: string): void {
    this.#fault = { step, reason, atMs: this.#now() };
  }
  get fared(): Fared {
    const now = this.#now();
    const ago = (atMs: number | undefined) => (atMs === undefined ? undefined : now - atMs);
    const fault = this.#fault;
    return {
      connectedAgoMs: ago(this.#connectedAtMs),
      answeredAgoMs: ago(this.#answeredAtMs),
      fault: fault && { step: fault.step, reason: fault.reason, agoMs: now - fault.atMs },
    };
  }
}

/** A node's trail; the nodes used longest ago are forgotten first. */
export const createTrails = (now: () => number, maxNodes: number): ((nodeId: string) => Trail) => {
  const trails = new LRUCache<string, Trail>({ max: maxNodes });
  return (nodeId) => {
    const known = trails.get(nodeId);
    if (known) return known;
    const made = new Trail(now);
    trails.set(nodeId, made);
    return made;
  };
};
