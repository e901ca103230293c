/**
 * Which nodes joined with which token, by the token's hash: a file that one process writes, whole. Claims that come while it is
 * being written are made durable together by the next write, so that a fleet that joins at once costs a few of them.
 */
import { replaceFile } from "../lib/whole-file.ts";

export type Claims = ReadonlyMap<string, ReadonlySet<string>>;

interface Batch {
  readonly claims: Map<string, Set<string>>;
  readonly written: Promise<void>;
  readonly settle: (written: Promise<void>) => void;
}

const newBatch = (): Batch => {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { claims: new Map(), written: promise, settle: resolve };
};

const add = (claims: Map<string, Set<string>>, hash: string, nodeId: string): void => {
  const nodes = claims.get(hash) ?? new Set();
  claims.set(hash, nodes.add(nodeId));
};

export interface ClaimsFileOptions {
  readonly file: string;
  readonly claims: Claims;
  /** Hashes of the tokens that there are: claims of others are left out of the next write. May throw. */
  readonly known: () => ReadonlySet<string>;
}

export class ClaimsFile {
  readonly #options: ClaimsFileOptions;
  #kept: Claims;
  #writing: Batch | undefined;
  #next: Batch | undefined;

  constructor(options: ClaimsFileOptions) {
    this.#options = options;
    this.#kept = options.claims;
  }

  /** True when the claim is on disk. */
  has(hash: string, nodeId: string): boolean {
    return this.#kept.get(hash)?.has(nodeId) ?? false;
  }

  /** Resolves with true when the claim is on disk, with false when the token's uses are taken. Rejects when it cannot be kept. */
  async claim(hash: string, nodeId: string, uses: number): Promise<boolean> {
    while (!this.has(hash, nodeId)) {
      if ((this.#kept.get(hash)?.size ?? 0) >= uses) return false;
      const batch = this.#batchOf(hash, nodeId);
      if (batch !== undefined) await batch.written;
      else if (this.#taken(hash) < uses) return this.#write(hash, nodeId);
      else await this.#settled(); // the last uses are taken once they are on disk
    }
    return true;
  }

  get #pending(): readonly Batch[] {
    return [this.#writing, this.#next].filter((batch) => batch !== undefined);
  }

  #batchOf(hash: string, nodeId: string): Batch | undefined {
    return this.#pending.find(({ claims }) => claims.get(hash)?.has(nodeId));
  }

  /** Uses of a token, with those that are not on disk yet. */
  #taken(hash: string): number {
    const sets = [this.#kept, ...this.#pending.map(({ claims }) => claims)];
    return sets.reduce((total, claims) => total + (claims.get(hash)?.size ?? 0), 0);
  }

  /** The writes that are under way are over, well or not: those who made the claims are told how. */
  async #settled(): Promise<void> {
    await Promise.allSettled(this.#pending.map(({ written }) => written));
  }

  async #write(hash: string, nodeId: string): Promise<boolean> {
    this.#next ??= newBatch();
    const { claims, written } = this.#next;
    add(claims, hash, nodeId);
    if (this.#writing === undefined) this.#writeNext();
    await written;
    return true;
  }

  #writeNext(): void {
    const batch = this.#next;
    this.#next = undefined;
    this.#writing = batch;
    if (batch === undefined) return;
    const written = this.#keep(batch.claims);
    batch.settle(written);
    const over = (): void => this.#writeNext();
    written.then(over, over);
  }

  async #keep(added: Claims): Promise<void> {
    const next = new Map([...this.#kept].map(([hash, nodes]) => [hash, new Set(nodes)]));
    for (const [hash, nodes] of added) for (const nodeId of nodes) add(next, hash, nodeId);
    const known = this.#options.known();
    for (const hash of next.keys()) if (!known.has(hash)) next.delete(hash);
    const claims = Object.fromEntries([...next].map(([hash, nodes]) => [hash, [...nodes]]));
    await replaceFile(this.#options.file, `${JSON.stringify({ claims })}\n`);
    this.#kept = next;
  }
}
