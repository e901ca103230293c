/**
 * What is shown of a node's allocations while it is down, over what its agent last told: Nomad's servers call them lost
 * (golden/node-down.json). Their own documents are kept; the agent's next answer is shown instead.
 */
import type { AllocationDocument } from "../../documents.ts";

const lostMark = {
  DesiredStatus: "stop",
  DesiredDescription: "alloc is lost since its node is down",
  ClientStatus: "lost",
} as const;

interface Since {
  readonly index: number;
  readonly atNs: bigint;
}

export class Lost {
  readonly #since = new Map<string, Since>();

  get size(): number {
    return this.#since.size;
  }

  has(id: string): boolean {
    return this.#since.has(id);
  }

  add(id: string, since: Since): void {
    this.#since.set(id, since);
  }

  delete(id: string): void {
    this.#since.delete(id);
  }

  /** The document as it is shown. */
  over(document: AllocationDocument): AllocationDocument {
    const since = this.#since.get(document.ID);
    if (since === undefined) return document;
    const index = Math.max(document.ModifyIndex, since.index);
    return {
      ...document,
      ...lostMark,
      ModifyIndex: index,
      AllocModifyIndex: index,
      ModifyTime: index === since.index ? since.atNs : document.ModifyTime,
    };
  }
}
