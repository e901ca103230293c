/** The full allocation document (nomad-http.md §9.2): Nomad's fields in its order, zero ones at the top left out. */
import type { AllocationDocument, ClientStatus, TaskState } from "../../documents.ts";
import type { Json, JsonObject } from "../../lib/json.ts";
import type { NodeIdentity, WorkloadConfig } from "../ports.ts";
import type { AllocationIdentity } from "./environment.ts";
import { jobDocument, lifecycleDocument, resources } from "./job-document.ts";
import type { AllocationRecord } from "./record.ts";

const diskMb = 300;

const networksOf = (allocation: AllocationIdentity): Json => {
  const { workload, ports, address } = allocation;
  if (workload.ports.length === 0) return null;
  const rows = (fixed: boolean): Json[] =>
    workload.ports
      .filter((port) => (port.static !== undefined) === fixed)
      .map((port) => ({
        Label: port.label,
        Value: ports.get(port.label) ?? 0,
        HostNetwork: "default",
      }));
  const reserved = rows(true);
  const dynamic = rows(false);
  return [
    {
      IP: address,
      ...(reserved.length === 0 ? {} : { ReservedPorts: reserved }),
      ...(dynamic.length === 0 ? {} : { DynamicPorts: dynamic }),
    },
  ];
};

const portsOf = ({ workload, ports, address }: AllocationIdentity): Json =>
  workload.ports.length === 0
    ? null
    : workload.ports.map((port) => ({
        Label: port.label,
        Value: ports.get(port.label) ?? 0,
        HostIP: address,
      }));

const byTask = (
  workload: WorkloadConfig,
  toValue: (task: WorkloadConfig["tasks"][number]) => Json,
): JsonObject => Object.fromEntries(workload.tasks.map((task) => [task.name, toValue(task)]));

const allocatedResources = (allocation: AllocationIdentity): Json => ({
  Tasks: byTask(allocation.workload, (task) => ({
    Cpu: { CpuShares: task.resources.cpu, ReservedCores: null },
    Memory: { MemoryMB: task.resources.memoryMb, MemoryMaxMB: 0 },
    Networks: null,
    Devices: null,
  })),
  TaskLifecycles: byTask(allocation.workload, lifecycleDocument),
  Shared: { Networks: networksOf(allocation), DiskMB: diskMb, Ports: portsOf(allocation) },
});

/** Nobody scheduled it: one node was looked at and taken. */
const metrics = (node: NodeIdentity): Json => ({
  NodesEvaluated: 1,
  NodesFiltered: 0,
  NodesInPool: 1,
  NodePool: node.nodePool,
  NodesAvailable: { [node.datacenter]: 1 },
  ClassFiltered: null,
  ConstraintFiltered: null,
  NodesExhausted: 0,
  ClassExhausted: null,
  DimensionExhausted: null,
  QuotaExhausted: null,
  ResourcesExhausted: null,
  Scores: null,
  ScoreMetaData: null,
  AllocationTime: 0,
  CoalescedFailures: 0,
});

/** Nomad multiplies whole numbers; the sum of what the tasks ask for. */
const total = (workload: WorkloadConfig) => {
  const sum = (of: (task: WorkloadConfig["tasks"][number]) => number): number =>
    workload.tasks.reduce((all, task) => all + of(task), 0);
  const memoryMb = sum((task) => task.resources.memoryMb);
  return { cpu: sum((task) => task.resources.cpu), memoryMb, memoryMaxMb: memoryMb };
};

const stopped = {
  DesiredDescription: "alloc was stopped on request",
  DesiredTransition: {
    Migrate: true,
    Reschedule: false,
    ForceReschedule: null,
    NoShutdownDelay: false,
    MigrateDisablePlacement: true,
  },
};

export interface AllocationMoment {
  readonly record: AllocationRecord;
  readonly status: ClientStatus;
  readonly description: string;
  readonly tasks: Readonly<Record<string, TaskState>>;
}

const jobStatus = (status: ClientStatus): "pending" | "running" | "dead" => {
  if (status === "pending" || status === "running") return status;
  return "dead";
};

export const allocationDocument = (
  allocation: AllocationIdentity,
  node: NodeIdentity,
  { record, status, description, tasks }: AllocationMoment,
): AllocationDocument => {
  const { workload } = allocation;
  const networks = networksOf(allocation);
  const isStopped = record.desired === "stop";
  return {
    ID: allocation.id,
    Namespace: workload.namespace,
    EvalID: record.evalId,
    Name: allocation.name,
    NodeID: node.id,
    NodeName: node.name,
    JobID: workload.job,
    Job: jobDocument(
      workload,
      node,
      {
        version: record.version,
        submitTime: record.createTime,
        createIndex: record.createIndex,
      },
      { stop: isStopped, status: jobStatus(status) },
    ),
    TaskGroup: workload.group,
    Resources: resources(total(workload), diskMb, networks),
    SharedResources: resources({ cpu: 0, memoryMb: 0 }, diskMb, networks),
    TaskResources: byTask(workload, (task) => resources(task.resources, 0, null)),
    AllocatedResources: allocatedResources(allocation),
    Metrics: metrics(node),
    DesiredStatus: record.desired,
    ...(isStopped ? stopped : {}),
    ClientStatus: status,
    ClientDescription: description,
    TaskStates: tasks,
    NetworkStatus: { InterfaceName: "", Address: "", AddressIPv6: "", DNS: null },
    CreateIndex: record.createIndex,
    ModifyIndex: record.modifyIndex,
    AllocModifyIndex: record.allocModifyIndex,
    CreateTime: record.createTime,
    ModifyTime: record.modifyTime,
  };
};
