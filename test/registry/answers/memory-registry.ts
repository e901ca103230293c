/** A registry in memory for the answers' tests: documents put in by hand, indexes that rise, waiters that are woken. */
import type { AllocationDocument, NodeDocument } from "../../../src/documents.ts";
import type { JsonObject } from "../../../src/lib/json.ts";
import type { Directory, Registry, Table } from "../../../src/ports.ts";

export interface Contents {
  readonly allocations: readonly AllocationDocument[];
  readonly nodes: readonly NodeDocument[];
  readonly evaluations: readonly JsonObject[];
  readonly indexes: Readonly<Record<Table, number>>;
}

const evaluationId = "fb15de29-e242-75e2-319c-025a4fa3475f";

export class MemoryRegistry implements Registry {
  readonly #allocations: Map<string, AllocationDocument>;
  readonly #nodes: Map<string, NodeDocument>;
  readonly #evaluations: Map<string, JsonObject>;
  readonly #indexes: Map<Table, number>;
  readonly #waiters = new Set<() => void>();
  readonly stopped: string[] = [];

  constructor({ allocations, nodes, evaluations, indexes }: Contents) {
    this.#allocations = new Map(allocations.map((one) => [one.ID, one]));
    this.#nodes = new Map(nodes.map((one) => [one.ID, one]));
    this.#evaluations = new Map(evaluations.map((one) => [String(one["ID"]), one]));
    this.#indexes = new Map(
      Object.entries(indexes).map(([table, index]) => [toTable(table), index]),
    );
  }

  /** How many queries wait now. */
  get waiting(): number {
    return this.#waiters.size;
  }

  put(document: AllocationDocument): void {
    this.#allocations.set(document.ID, document);
    this.touch("allocs", document.ModifyIndex);
  }

  touch(table: Table, index: number): void {
    this.#indexes.set(table, index);
    for (const wake of this.#waiters) wake();
  }

  allocation(id: string): AllocationDocument | undefined {
    return this.#allocations.get(id);
  }

  allocations(): Iterable<AllocationDocument> {
    return [...this.#allocations.values()].sort(
      (one, other) => one.CreateIndex - other.CreateIndex || (one.ID < other.ID ? -1 : 1),
    );
  }

  node(id: string): NodeDocument | undefined {
    return this.#nodes.get(id);
  }

  nodes(): Iterable<NodeDocument> {
    return [...this.#nodes.values()].sort((one, other) => (one.ID < other.ID ? -1 : 1));
  }

  evaluation(id: string): JsonObject | undefined {
    return this.#evaluations.get(id);
  }

  evaluations(): Iterable<JsonObject> {
    return this.#evaluations.values();
  }

  index(table: Table): number {
    return this.#indexes.get(table) ?? 1;
  }

  changed(table: Table, index: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.#waiters.delete(check);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const check = (): void => {
        if (this.index(table) > index || signal.aborted) done();
      };
      this.#waiters.add(check);
      signal.addEventListener("abort", done, { once: true });
      check();
    });
  }

  stop(id: string): ReturnType<Registry["stop"]> {
    this.stopped.push(id);
    const index = this.index("evals") + 1;
    this.touch("evals", index);
    return Promise.resolve({ evaluationId, index });
  }

  directory(): Directory {
    const placement: Directory["allocation"] = (id) => {
      const found = this.allocation(id);
      return found === undefined
        ? undefined
        : {
            id,
            nodeId: found.NodeID,
            namespace: found.Namespace,
            jobId: found.JobID,
            taskGroup: found.TaskGroup,
            terminal: undefined,
          };
    };
    return {
      allocation: placement,
      node: () => undefined,
      find: (id) => Promise.resolve(placement(id)),
      size: { allocations: this.#allocations.size, nodes: this.#nodes.size },
    };
  }
}

const toTable = (name: string): Table => (name === "nodes" || name === "evals" ? name : "allocs");
