/** Service registrations of an allocation (nomad-http.md §9.4). */
import type { Json } from "../../lib/json.ts";
import type { ServiceConfig } from "../ports.ts";
import type { AllocationIdentity, NodeIdentity } from "./environment.ts";
import type { AllocationRecord } from "./record.ts";

const registrationId = (allocation: AllocationIdentity, service: ServiceConfig): string => {
  const owner = service.task ?? `group-${allocation.workload.group}`;
  return `_nomad-task-${allocation.id}-${owner}-${service.name}-${service.port}`;
};

export const serviceRegistrations = (
  allocation: AllocationIdentity,
  node: NodeIdentity,
  record: AllocationRecord,
): readonly Json[] =>
  allocation.workload.services.map((service) => ({
    ID: registrationId(allocation, service),
    ServiceName: service.name,
    Namespace: allocation.workload.namespace,
    NodeID: node.id,
    Datacenter: node.datacenter,
    JobID: allocation.workload.job,
    AllocID: allocation.id,
    Tags: service.tags,
    Address: allocation.address,
    Port: allocation.ports.get(service.port) ?? 0,
    CreateIndex: record.allocModifyIndex,
    ModifyIndex: record.allocModifyIndex,
  }));
