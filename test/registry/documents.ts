/** Documents as an agent gives them, complete enough for the gateway and Nomad's CLI. */
import { randomUUID } from "node:crypto";
import type { AllocationDocument, NodeDocument } from "../../src/documents.ts";
import type { JsonObject } from "../../src/lib/json.ts";

export const nodeBody = (id: string, address: string, over: JsonObject = {}): JsonObject => ({
  ID: id,
  Name: `client-${id.slice(0, 4)}`,
  Datacenter: "dc1",
  NodePool: "default",
  NodeClass: "",
  HTTPAddr: address,
  TLSEnabled: false,
  Attributes: { "kernel.name": "linux", "nomad.version": "2.0.5" },
  Meta: { rack: "r1" },
  NodeResources: { Cpu: { CpuShares: 4600 }, Memory: { MemoryMB: 1024 }, Disk: { DiskMB: 2048 } },
  ReservedResources: { Cpu: { CpuShares: 0 }, Memory: { MemoryMB: 0 }, Disk: { DiskMB: 0 } },
  ...over,
});

export const allocationBody = (
  nodeId: string,
  over: Partial<AllocationDocument> = {},
): AllocationDocument => ({
  ID: randomUUID(),
  Namespace: "default",
  EvalID: randomUUID(),
  Name: "web.front[0]",
  NodeID: nodeId,
  NodeName: "client",
  JobID: "web",
  Job: {
    ID: "web",
    Type: "service",
    Priority: 70,
    Version: 0,
    JobModifyIndex: 11,
    TaskGroups: [{ Name: "front", Tasks: [{ Name: "server" }] }],
  },
  TaskGroup: "front",
  AllocatedResources: null,
  DesiredStatus: "run",
  ClientStatus: "running",
  TaskStates: {
    server: {
      State: "running",
      Failed: false,
      Restarts: 0,
      LastRestart: null,
      StartedAt: "2026-11-22T03:13:26.707850179Z",
      FinishedAt: null,
      Events: [
        {
          Type: "Started",
          Time: 1_795_317_080_432_823_742n,
          Message: "",
          DisplayMessage: "Task started by client",
          Details: {},
        },
      ],
      Paused: "",
    },
  },
  CreateIndex: 3,
  ModifyIndex: 4,
  CreateTime: 1_795_315_433_863_450_958n,
  ModifyTime: 1_795_315_433_878_512_919n,
  ...over,
});

export type { NodeDocument };
