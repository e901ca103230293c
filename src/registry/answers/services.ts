/**
 * Services (nomad-http.md §9.4), told from its job and its ports: a service of Nomad's own
 * discovery is registered as long as the allocation runs.
 */
import type { AllocationDocument } from "../../documents.ts";
import { fieldsOf, listOf, numberOf, textOf } from "./documents.ts";
import type { AnswerNeeds } from "./needs.ts";

interface Port {
  readonly address: string;
  readonly port: number;
}

const mappedPorts = (allocation: AllocationDocument): ReadonlyMap<string, Port> => {
  const shared = fieldsOf(fieldsOf(allocation.AllocatedResources)["Shared"]);
  return new Map(
    listOf(shared["Ports"])
      .map(fieldsOf)
      .map((port) => [
        textOf(port["Label"]),
        { address: textOf(port["HostIP"]), port: numberOf(port["Value"]) },
      ]),
  );
};

/** A service with what stands in its id for where it was declared. */
interface Declared {
  readonly owner: string;
  readonly service: Readonly<Record<string, unknown>>;
}

const declaredIn = (owner: string, services: unknown): readonly Declared[] =>
  listOf(services).map((service) => ({ owner, service: fieldsOf(service) }));

const declared = (allocation: AllocationDocument): readonly Declared[] => {
  const group = listOf(allocation.Job["TaskGroups"])
    .map(fieldsOf)
    .find(({ Name }) => Name === allocation.TaskGroup);
  if (group === undefined) return [];
  const tasks = listOf(group["Tasks"]).map(fieldsOf);
  return [
    ...declaredIn(`group-${allocation.TaskGroup}`, group["Services"]),
    ...tasks.flatMap((task) => declaredIn(textOf(task["Name"]), task["Services"])),
  ];
};

/** A service as Nomad registers it, by the field's names. */
export interface Registration {
  readonly ID: string;
  readonly ServiceName: string;
  readonly Namespace: string;
  readonly NodeID: string;
  readonly Datacenter: string;
  readonly JobID: string;
  readonly AllocID: string;
  readonly Tags: readonly string[];
  readonly Address: string;
  readonly Port: number;
  readonly CreateIndex: number;
  readonly ModifyIndex: number;
}

/** Those of an allocation; none where its node is down, for nobody can reach what runs there. */
export const registeredBy = (
  { registry, self }: Pick<AnswerNeeds, "registry" | "self">,
  allocation: AllocationDocument,
): readonly Registration[] => {
  const node = registry.node(allocation.NodeID);
  if (node?.Status === "down") return [];
  return servicesOf(allocation, node?.Datacenter ?? self.datacenter);
};

const servicesOf = (
  allocation: AllocationDocument,
  datacenter: string,
): readonly Registration[] => {
  if (allocation.ClientStatus !== "running") return [];
  const ports = mappedPorts(allocation);
  return declared(allocation)
    .filter(({ service }) => service["Provider"] !== "consul")
    .map(({ owner, service }) => {
      const name = textOf(service["Name"]);
      const label = textOf(service["PortLabel"]);
      const { address, port } = ports.get(label) ?? { address: "", port: 0 };
      return {
        ID: `_nomad-task-${allocation.ID}-${owner}-${name}-${label}`,
        ServiceName: name,
        Namespace: allocation.Namespace,
        NodeID: allocation.NodeID,
        Datacenter: datacenter,
        JobID: allocation.JobID,
        AllocID: allocation.ID,
        Tags: listOf(service["Tags"]).filter((tag) => typeof tag === "string"),
        Address: address,
        Port: port,
        CreateIndex: allocation.CreateIndex,
        ModifyIndex: allocation.CreateIndex,
      };
    });
};
