/** A node as lists give it and as a read gives it: complete, without secret, its address the caller's way to us. */
import type { NodeDocument } from "../../documents.ts";
import { hostOf } from "../../lib/addresses.ts";
import { fieldsOf, textOf } from "./documents.ts";
import type { NodeFields } from "./parameter-check.ts";

const isDraining = (node: NodeDocument): boolean =>
  typeof node["Drain"] === "boolean" ? node["Drain"] : (node["DrainStrategy"] ?? null) !== null;

export const toNodeStub = (node: NodeDocument, { resources, os }: NodeFields): object => ({
  Address: hostOf(node.HTTPAddr),
  ID: node.ID,
  Attributes: os ? { "os.name": node.Attributes["os.name"] ?? "" } : null,
  Datacenter: node.Datacenter,
  Name: node.Name,
  NodePool: node.NodePool,
  NodeClass: node.NodeClass,
  Version: node.Attributes["nomad.version"] ?? "",
  Drain: isDraining(node),
  SchedulingEligibility: node.SchedulingEligibility,
  Status: node.Status,
  StatusDescription: textOf(node["StatusDescription"]),
  Drivers: fieldsOf(node["Drivers"]),
  HostVolumes: fieldsOf(node["HostVolumes"]),
  NodeResources: resources ? resourcesOf(node) : null,
  ReservedResources: resources ? reservedOf(node) : null,
  LastDrain: node["LastDrain"] ?? null,
  CreateIndex: node.CreateIndex,
  ModifyIndex: node.ModifyIndex,
});

/** The CLI reads through these without looking whether they are there. */
const resourcesOf = (node: NodeDocument): unknown =>
  node["NodeResources"] ?? {
    Cpu: { CpuShares: 0, TotalCpuCores: 0, ReservableCpuCores: null },
    Memory: { MemoryMB: 0 },
    Disk: { DiskMB: 0 },
    Devices: null,
    NodeNetworks: null,
    Networks: null,
    MinDynamicPort: 0,
    MaxDynamicPort: 0,
  };

const reservedOf = (node: NodeDocument): unknown =>
  node["ReservedResources"] ?? {
    Cpu: { CpuShares: 0, ReservedCpuCores: null },
    Memory: { MemoryMB: 0 },
    Disk: { DiskMB: 0 },
    Networks: { ReservedHostPorts: "" },
  };

/** How the caller reached the gateway. */
export interface Mask {
  readonly authority: string;
  readonly scheme: "http" | "https";
}

/** `host:port`, always with a port, IPv6 in brackets: what SDK and UI dial as they stand. */
const maskedAddress = ({ authority, scheme }: Mask): string => {
  if (/^(?:\[[^\]]*\]|[^:[\]]+):\d+$/.test(authority)) return authority;
  const bare = authority.replace(/:$/, "");
  const host = bare.includes(":") && !bare.startsWith("[") ? `[${bare}]` : bare;
  return `${host}:${scheme === "https" ? 443 : 80}`;
};

/** Keys in alphabetical order, as Nomad gives them; fields of no node of Nomad's are left out. */
export const toFullNode = (node: NodeDocument, mask: Mask): object => {
  const of = (name: string, fallback: unknown): unknown => node[name] ?? fallback;
  return {
    Attributes: node.Attributes,
    CSIControllerPlugins: of("CSIControllerPlugins", {}),
    CSINodePlugins: of("CSINodePlugins", {}),
    CgroupParent: of("CgroupParent", ""),
    ComputedClass: of("ComputedClass", ""),
    CreateIndex: node.CreateIndex,
    Datacenter: node.Datacenter,
    Drain: isDraining(node),
    DrainStrategy: of("DrainStrategy", null),
    Drivers: of("Drivers", {}),
    Events: of("Events", []),
    GCVolumesOnNodeGC: of("GCVolumesOnNodeGC", false),
    HTTPAddr: maskedAddress(mask),
    HostNetworks: of("HostNetworks", null),
    HostVolumes: of("HostVolumes", {}),
    ID: node.ID,
    IdentitySigningKeyID: of("IdentitySigningKeyID", ""),
    LastAllocUpdateIndex: of("LastAllocUpdateIndex", 0),
    LastDrain: of("LastDrain", null),
    LastMissedHeartbeatIndex: of("LastMissedHeartbeatIndex", 0),
    Links: of("Links", {}),
    Meta: node.Meta,
    ModifyIndex: node.ModifyIndex,
    Name: node.Name,
    NodeClass: node.NodeClass,
    NodeMaxAllocs: of("NodeMaxAllocs", 0),
    NodePool: node.NodePool,
    NodeResources: resourcesOf(node),
    ReservedResources: reservedOf(node),
    SchedulingEligibility: node.SchedulingEligibility,
    SecretID: "",
    Status: node.Status,
    StatusDescription: of("StatusDescription", ""),
    StatusUpdatedAt: of("StatusUpdatedAt", 0),
    TLSEnabled: mask.scheme === "https",
  };
};
