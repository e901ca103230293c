/**
 * Stops that were accepted while their node could not be asked: kept on disk before they are answered, until the agent
 * has carried them out. Who asked was checked then; no credential is kept.
 */
import { GatewayError } from "../../errors.ts";
import { isJsonObject, type Json, stringifyJson } from "../../lib/json.ts";
import { isUuid } from "../../lib/uuid.ts";
import type { Log } from "../../ports.ts";
import { readState, writeState } from "../state-file.ts";

export interface PendingStop {
  readonly allocationId: string;
  readonly nodeId: string;
}

export interface PendingStopsNeeds {
  readonly log: Log;
  /** At the bound, stops of nodes that nobody knows any more give way. */
  readonly isKnown: (nodeId: string) => boolean;
}

export interface PendingStopsOptions {
  /** State file; undefined keeps nothing over a restart. */
  readonly file: string | undefined;
  readonly maxPendingStops: number;
}

const savedStop = (value: Json): PendingStop | undefined => {
  if (!isJsonObject(value)) return undefined;
  const { AllocationID: allocationId, NodeID: nodeId } = value;
  if (typeof allocationId !== "string" || !isUuid(allocationId)) return undefined;
  return typeof nodeId === "string" && isUuid(nodeId) ? { allocationId, nodeId } : undefined;
};

/** What a state file holds. Throws when it cannot be read. */
export const loadStops = async (
  file: string | undefined,
  log: Log,
): Promise<readonly PendingStop[]> => {
  if (file === undefined) return [];
  const saved = await readState({ file, log }, "Stops", savedStop);
  return saved?.items ?? [];
};

export class PendingStops {
  readonly #needs: PendingStopsNeeds;
  readonly #options: PendingStopsOptions;
  /** Node by allocation, oldest first. */
  readonly #nodes = new Map<string, string>();
  readonly #ofNode = new Map<string, Set<string>>();
  /** How many wait for each stop that was not on disk yet. */
  readonly #unsaved = new Map<string, number>();
  #writing: Promise<void> = Promise.resolve();
  #next: Promise<void> | undefined;

  constructor(
    needs: PendingStopsNeeds,
    options: PendingStopsOptions,
    saved: readonly PendingStop[],
  ) {
    this.#needs = needs;
    this.#options = options;
    for (const stop of saved.slice(0, options.maxPendingStops)) this.#set(stop);
  }

  get size(): number {
    return this.#nodes.size;
  }

  has(allocationId: string): boolean {
    return this.#nodes.has(allocationId);
  }

  of(nodeId: string): ReadonlySet<string> {
    return this.#ofNode.get(nodeId) ?? new Set();
  }

  /** Resolves when the stop is on disk. Throws `registry_unavailable`; it is kept then for another who waits for it. */
  async add(stop: PendingStop): Promise<void> {
    const id = stop.allocationId;
    if (!this.has(id)) {
      this.#makeRoom();
      this.#set(stop);
      this.#unsaved.set(id, 0);
    }
    const waiting = this.#unsaved.get(id);
    if (waiting !== undefined) this.#unsaved.set(id, waiting + 1);
    try {
      await this.#save();
      this.#unsaved.delete(id);
    } catch (cause) {
      this.#leave(id);
      this.#needs.log.error({ file: this.#options.file, err: cause }, "a stop cannot be saved");
      const reason = "the stop cannot be saved for when its node is back";
      throw new GatewayError("registry_unavailable", { reason }, { cause });
    }
  }

  /** It was carried out, or there is nothing to stop any more. One that comes back after a crash is dropped then. */
  delete(allocationId: string): void {
    if (!this.has(allocationId)) return;
    this.#unset(allocationId);
    this.#save().catch((err: unknown) =>
      this.#needs.log.error({ file: this.#options.file, err }, "the pending stops cannot be saved"),
    );
  }

  /** Resolves when everything is on disk, or could not be written (which is logged). */
  async close(): Promise<void> {
    await this.#writing.catch(() => undefined);
  }

  #makeRoom(): void {
    if (this.size < this.#options.maxPendingStops) return;
    const orphan = [...this.#nodes].find(([, nodeId]) => !this.#needs.isKnown(nodeId));
    if (orphan === undefined)
      throw new GatewayError("registry_unavailable", {
        reason: "too many stops wait for their nodes to come back",
      });
    this.#unset(orphan[0]);
  }

  /** One waits in vain: the last takes the stop along, unless it is on disk. */
  #leave(id: string): void {
    const waiting = this.#unsaved.get(id);
    if (waiting === undefined) return;
    if (waiting > 1) this.#unsaved.set(id, waiting - 1);
    else this.#unset(id);
  }

  #set({ allocationId, nodeId }: PendingStop): void {
    this.#nodes.set(allocationId, nodeId);
    const ids = this.#ofNode.get(nodeId);
    if (ids) ids.add(allocationId);
    else this.#ofNode.set(nodeId, new Set([allocationId]));
  }

  #unset(allocationId: string): void {
    const nodeId = this.#nodes.get(allocationId) ?? "";
    this.#nodes.delete(allocationId);
    this.#unsaved.delete(allocationId);
    const ids = this.#ofNode.get(nodeId);
    ids?.delete(allocationId);
    if (ids?.size === 0) this.#ofNode.delete(nodeId);
  }

  /** One write of the file at a time; those who come while one is under way share the next. */
  #save(): Promise<void> {
    const { file } = this.#options;
    if (file === undefined) return Promise.resolve();
    this.#next ??= this.#writing
      .catch(() => undefined) // told to whoever waited for it
      .then(() => {
        this.#next = undefined;
        const Stops = [...this.#nodes].map(([AllocationID, NodeID]) => ({ AllocationID, NodeID }));
        return writeState(file, `${stringifyJson({ Stops })}\n`);
      });
    this.#writing = this.#next;
    return this.#next;
  }
}
