/**
 * Keeps one agent's allocations up to date: a blocking query that returns whenever something changed, taken in item by
 * item. A broken or hostile agent costs a bounded share of time and memory, and spoils nothing of the others.
 */
import { hash } from "node:crypto";
import { setImmediate as turn } from "node:timers/promises";
import type { AllocationDocument } from "../../documents.ts";
import { GatewayError } from "../../errors.ts";
import type { Clock, Log } from "../../ports.ts";
import { pause, type Timers } from "../timers.ts";
import type { AskAgent } from "./agent-client.ts";
import { checkAllocation, type DropReason } from "./allocation-document.ts";
import type { NodePicture } from "./allocations.ts";
import { bearer, type Session } from "./session.ts";
import { splitDocuments } from "./split-documents.ts";

export interface PullNeeds {
  readonly ask: AskAgent;
  readonly clock: Clock;
  readonly timers: Timers;
  /** In [0, 1). */
  readonly random: () => number;
  readonly log: Log;
  /** Takes a whole picture in; answers which changed documents were taken. */
  readonly commit: (nodeId: string, picture: NodePicture) => ReadonlySet<string>;
  readonly dropped: (nodeId: string, reason: DropReason, id: string | undefined) => void;
  readonly pulled: (result: "ok" | "failed") => void;
}

export interface PullOptions {
  readonly waitMs: number;
  readonly maxBytes: number;
  readonly maxDocumentBytes: number;
  readonly maxAllocationsOfNode: number;
  /** Least time between two answers taken from one agent. */
  readonly minGapMs: number;
  readonly maxBackoffMs: number;
}

export const pullDefaults: PullOptions = {
  waitMs: 60_000,
  maxBytes: 32 * 1024 * 1024,
  maxDocumentBytes: 1024 * 1024,
  maxAllocationsOfNode: 10_000,
  minGapMs: 100,
  maxBackoffMs: 10_000,
};

const sliceMs = 8;
const firstBackoffMs = 250;
const headersMarginMs = 10_000;
/** An agent whose answers cost much is asked so seldom that it takes a sixth of the time at most. */
const restPerCost = 5;

interface Known {
  /** Ids by the digest of the document last taken. */
  readonly byDigest: ReadonlyMap<string, string>;
}

interface Taking {
  readonly listed: Set<string>;
  readonly changed: AllocationDocument[];
  readonly byDigest: Map<string, string>;
  readonly digestOf: Map<string, string>;
}

export class Pull {
  readonly #needs: PullNeeds;
  readonly #options: PullOptions;
  readonly #session: Session;
  #known: Known = { byDigest: new Map() };
  #index = 0;
  #failures = 0;

  constructor(needs: PullNeeds, options: PullOptions, session: Session) {
    this.#needs = needs;
    this.#options = options;
    this.#session = session;
  }

  /** Goes on until the session ends; never rejects. */
  async run(): Promise<void> {
    const { signal } = this.#session;
    while (!signal.aborted) await this.#pause(await this.#once());
  }

  /** One question and its answer; how long to rest then. */
  async #once(): Promise<number> {
    const { clock, log, pulled } = this.#needs;
    const session = this.#session;
    try {
      const costMs = await this.#take(await this.#ask());
      this.#failures = 0;
      session.synced = true;
      session.lastAnswerMs = clock.monotonic();
      pulled("ok");
      return Math.max(this.#options.minGapMs, restPerCost * costMs);
    } catch (error) {
      if (session.signal.aborted) return 0;
      this.#failures++;
      this.#index = 0; // the next answer comes at once, whole
      pulled("failed");
      log.warn({ node: session.nodeId, err: error }, "the node's allocations cannot be pulled");
      return this.#backoffMs();
    }
  }

  #backoffMs(): number {
    const ceiling = Math.min(
      this.#options.maxBackoffMs,
      firstBackoffMs * 2 ** Math.min(this.#failures - 1, 16),
    );
    return ceiling * (0.5 + 0.5 * this.#needs.random());
  }

  async #pause(ms: number): Promise<void> {
    const hurry = new AbortController();
    const session = this.#session;
    session.hurry = this.#failures > 0 ? () => hurry.abort() : undefined;
    await pause(this.#needs.timers, ms, AbortSignal.any([session.signal, hurry.signal]));
  }

  async #ask(): Promise<Buffer> {
    const session = this.#session;
    const { waitMs, maxBytes } = this.#options;
    const answer = await this.#needs.ask(
      session,
      {
        method: "GET",
        path: `/v1/node/${session.nodeId}/allocations?index=${this.#index}&wait=${waitMs}ms`,
        headers: bearer(session),
        headersTimeoutMs: waitMs + waitMs / 16 + headersMarginMs,
        maxBytes,
      },
      session.signal,
    );
    if (answer.status !== 200) throw this.#invalid(`it answered ${answer.status}`);
    // an index that runs backwards is that of an agent started anew: everything is asked again (nomad-http.md §1.8)
    this.#index = answer.index < this.#index ? 0 : answer.index;
    return answer.body;
  }

  #invalid(reason: string, cause?: unknown): GatewayError {
    return new GatewayError("upstream_invalid", { node: this.#session.name, reason }, { cause });
  }

  /** Answers how many milliseconds it held the loop; what it waited for its turns is not the agent's cost. */
  async #take(body: Buffer): Promise<number> {
    const taking: Taking = {
      listed: new Set(),
      changed: [],
      byDigest: new Map(),
      digestOf: new Map(),
    };
    const { clock } = this.#needs;
    let costMs = 0;
    let turnAtMs = clock.monotonic();
    try {
      for (const bytes of splitDocuments(body)) {
        this.#takeOne(bytes, taking);
        const heldMs = clock.monotonic() - turnAtMs;
        if (heldMs < sliceMs) continue;
        costMs += heldMs;
        await turn();
        turnAtMs = clock.monotonic();
      }
    } catch (error) {
      if (error instanceof SyntaxError) throw this.#invalid(error.message, error);
      throw error;
    }
    if (!this.#session.signal.aborted) this.#commit(taking);
    return costMs + clock.monotonic() - turnAtMs;
  }

  #commit(taking: Taking): void {
    const taken = this.#needs.commit(this.#session.nodeId, taking);
    for (const { ID: id } of taking.changed)
      if (!taken.has(id)) taking.byDigest.delete(taking.digestOf.get(id) ?? "");
    this.#known = { byDigest: taking.byDigest };
  }

  #takeOne(bytes: Uint8Array, taking: Taking): void {
    const bound = this.#bound(bytes, taking);
    if (bound !== undefined) {
      this.#drop(bound);
      return;
    }
    const digest = hash("sha256", bytes, "base64");
    const same = this.#known.byDigest.get(digest);
    if (same === undefined) {
      this.#takeNew(bytes, digest, taking);
      return;
    }
    taking.listed.add(same);
    taking.byDigest.set(digest, same);
  }

  #takeNew(bytes: Uint8Array, digest: string, taking: Taking): void {
    const checked = checkAllocation(bytes, this.#session.nodeId);
    if (!checked.ok) {
      this.#drop(checked.reason, checked.id);
      // what was taken of this id before stays until the agent says something sound or leaves it out
      if (checked.id !== undefined && checked.reason === "malformed") taking.listed.add(checked.id);
      return;
    }
    const { document } = checked;
    if (taking.listed.has(document.ID)) {
      this.#drop("malformed", document.ID); // listed twice
      return;
    }
    taking.listed.add(document.ID);
    taking.changed.push(document);
    taking.byDigest.set(digest, document.ID);
    taking.digestOf.set(document.ID, digest);
  }

  #bound(bytes: Uint8Array, { listed }: Taking): DropReason | undefined {
    if (bytes.length > this.#options.maxDocumentBytes) return "too_large";
    return listed.size >= this.#options.maxAllocationsOfNode ? "too_many" : undefined;
  }

  #drop(reason: DropReason, id?: string): void {
    this.#needs.dropped(this.#session.nodeId, reason, id);
  }
}
