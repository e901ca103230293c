/**
 * The node documents that `/v1/node/:id` and `/v1/nodes` read, with their indexes. Every change is one write; the state
 * file follows shortly after, so that a gateway started again knows its nodes.
 */
import type { NodeDocument } from "../documents.ts";
import { isJsonObject, type Json, stringifyJson } from "../lib/json.ts";
import type { Clock, Log } from "../ports.ts";
import type { Indexes } from "./indexes.ts";
import { isSameMeta, type Meta } from "./meta.ts";
import { checkNode } from "./node-document.ts";
import { readState, writeState } from "./state-file.ts";
import type { Cancel, Timers } from "./timers.ts";

export type NodeStatus = NodeDocument["Status"];

export interface NodeRegistryNeeds {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
  readonly indexes: Indexes;
  /** Told of every write, with its index. */
  readonly changed: (node: NodeDocument, index: number) => void;
  readonly removed: (id: string, index: number) => void;
}

export interface NodeRegistryOptions {
  /** State file; undefined keeps nothing over a restart. */
  readonly file: string | undefined;
  readonly saveDelayMs: number;
  readonly maxNodes: number;
}

export interface SavedNodes {
  readonly index: number;
  readonly nodes: readonly NodeDocument[];
}

/** Of a large fleet no more is made a text at once. */
const sliceMs = 8;
/** A disk that is full now may have room by then. */
const saveAgainMs = 10_000;

const nothingSaved: SavedNodes = { index: 0, nodes: [] };

const savedIndex = (value: Json | undefined): number =>
  typeof value === "number" && Number.isSafeInteger(value) && value > 0 ? value : 0;

const savedNode = (value: Json): NodeDocument | undefined => {
  if (!isJsonObject(value)) return undefined;
  const id = value["ID"];
  const checked = checkNode(value, typeof id === "string" ? id : "");
  if (!checked.ok) return undefined;
  return {
    ...checked.value,
    Status: value["Status"] === "down" ? "down" : "initializing",
    CreateIndex: savedIndex(value["CreateIndex"]),
    ModifyIndex: savedIndex(value["ModifyIndex"]),
  };
};

/** What a state file holds. Throws when it cannot be read. */
export const loadNodes = async (file: string | undefined, log: Log): Promise<SavedNodes> => {
  if (file === undefined) return nothingSaved;
  const saved = await readState({ file, log }, "Nodes", savedNode);
  return saved ? { index: savedIndex(saved.state["Index"]), nodes: saved.items } : nothingSaved;
};

export class NodeRegistry {
  readonly #needs: NodeRegistryNeeds;
  readonly #options: NodeRegistryOptions;
  readonly #nodes = new Map<string, NodeDocument>();
  #sorted: readonly string[] | undefined;
  #writes = 0;
  #cancelSave: Cancel | undefined;
  #saving: Promise<void> = Promise.resolve();
  #isToSave = false;
  #closed = false;

  constructor(needs: NodeRegistryNeeds, options: NodeRegistryOptions, saved: SavedNodes) {
    this.#needs = needs;
    this.#options = options;
    for (const node of saved.nodes) this.#nodes.set(node.ID, node);
  }

  get size(): number {
    return this.#nodes.size;
  }

  /** Changes made since the start. */
  get writes(): number {
    return this.#writes;
  }

  get(id: string): NodeDocument | undefined {
    return this.#nodes.get(id);
  }

  /** By id. */
  *all(): Iterable<NodeDocument> {
    this.#sorted ??= [...this.#nodes.keys()].toSorted();
    for (const id of this.#sorted) {
      const node = this.#nodes.get(id);
      if (node) yield node;
    }
  }

  /** False when the bound on nodes is reached. */
  put(node: NodeDocument, status: NodeStatus): boolean {
    const known = this.#nodes.get(node.ID);
    if (!known && this.#nodes.size >= this.#options.maxNodes) return false;
    if (!known) this.#sorted = undefined;
    this.#write(node, { Status: status }, known?.CreateIndex);
    return true;
  }

  setStatus(id: string, status: NodeStatus, description: string): void {
    const node = this.#nodes.get(id);
    if (node && node.Status !== status)
      this.#write(node, { Status: status, StatusDescription: description }, node.CreateIndex);
  }

  /** False when the node is unknown or has this metadata already. */
  setMeta(id: string, meta: Meta): boolean {
    const node = this.#nodes.get(id);
    if (!node || isSameMeta(node.Meta, meta)) return false;
    this.#write(node, { Meta: meta }, node.CreateIndex);
    return true;
  }

  remove(id: string): void {
    if (!this.#nodes.delete(id)) return;
    this.#sorted = undefined;
    this.#writes++;
    this.#needs.removed(id, this.#needs.indexes.touch("nodes"));
    this.#saveSoon();
  }

  /** Resolves when all that was written is in the state file, or could not be (which is logged). */
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelSave?.();
    this.#cancelSave = undefined;
    this.#save();
    await this.#saving;
  }

  #write(node: NodeDocument, change: Partial<NodeDocument>, createIndex: number | undefined): void {
    const index = this.#needs.indexes.touch("nodes");
    const isBeat = change.Status !== undefined;
    const written: NodeDocument = {
      ...node,
      ...change,
      ...(isBeat ? { StatusUpdatedAt: Math.floor(this.#needs.clock.now() / 1_000) } : {}),
      CreateIndex: createIndex ?? index,
      ModifyIndex: index,
    };
    this.#nodes.set(node.ID, written);
    this.#writes++;
    this.#needs.changed(written, index);
    this.#saveSoon();
  }

  #saveSoon(delayMs = this.#options.saveDelayMs): void {
    if (this.#closed || this.#options.file === undefined) return;
    this.#cancelSave ??= this.#needs.timers.after(delayMs, () => {
      this.#cancelSave = undefined;
      this.#save();
    });
  }

  /** One write of the file at a time; those that come while one is under way share the next. */
  #save(): void {
    const { file } = this.#options;
    if (file === undefined || this.#isToSave) return;
    this.#isToSave = true;
    this.#saving = this.#saving.then(async () => {
      this.#isToSave = false;
      try {
        await writeState(file, this.#pieces());
      } catch (error) {
        this.#needs.log.error({ file, err: error }, "the nodes cannot be saved");
        this.#saveSoon(saveAgainMs);
      }
    });
  }

  /** While one is written, others have the loop. */
  async *#pieces(): AsyncGenerator<string> {
    const { clock, indexes } = this.#needs;
    let piece = `{"Nodes":[`;
    let separator = "";
    let turnAtMs = clock.monotonic();
    for (const node of this.all()) {
      piece += separator + stringifyJson(node);
      separator = ",";
      if (clock.monotonic() - turnAtMs < sliceMs) continue;
      yield piece;
      piece = "";
      turnAtMs = clock.monotonic();
    }
    yield `${piece}],"Index":${indexes.last}}\n`;
  }
}
