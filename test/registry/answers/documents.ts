/** Small documents for tests that need no recorded ones. */
import type { AllocationDocument, NodeDocument } from "../../../src/documents.ts";
import { MemoryRegistry } from "./memory-registry.ts";

/** The id whose digits are all `digit`. */
export const idOf = (digit: string): string =>
  "dddddddd-dddd-4ddd-8ddd-dddddddddddd".replaceAll("d", digit);

export const nodeId = idOf("a");

export const allocation = (
  id: string,
  changed: Partial<AllocationDocument> = {},
): AllocationDocument => ({
  ID: id,
  Namespace: "golden",
  EvalID: idOf("e"),
  Name: "web.g[0]",
  NodeID: nodeId,
  NodeName: "client-1",
  JobID: "web",
  Job: {
    ID: "web",
    Name: "web",
    Type: "service",
    Version: 0,
    TaskGroups: [{ Name: "g", Tasks: [] }],
  },
  TaskGroup: "g",
  AllocatedResources: null,
  DesiredStatus: "run",
  ClientStatus: "running",
  TaskStates: null,
  CreateIndex: 10,
  ModifyIndex: 10,
  CreateTime: 1795315609563138962n,
  ModifyTime: 1795315609563138962n,
  ...changed,
});

export const node = (changed: Partial<NodeDocument> = {}): NodeDocument => ({
  ID: nodeId,
  Name: "client-1",
  Datacenter: "dc1",
  NodePool: "default",
  NodeClass: "",
  HTTPAddr: "10.1.2.3:4646",
  TLSEnabled: false,
  Status: "ready",
  SchedulingEligibility: "eligible",
  Attributes: { "os.name": "debian", "nomad.version": "2.0.5" },
  Meta: {},
  CreateIndex: 7,
  ModifyIndex: 7,
  ...changed,
});

export const registryOf = (
  allocations: readonly AllocationDocument[],
  nodes: readonly NodeDocument[] = [node()],
): MemoryRegistry =>
  new MemoryRegistry({
    allocations,
    nodes,
    evaluations: [],
    indexes: { allocs: 100, nodes: 50, evals: 20 },
  });
