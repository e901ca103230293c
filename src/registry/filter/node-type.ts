/** Nomad's Node, for filters. Its SecretID can be asked for and is always empty, as in every answer. */
import { networks } from "./job-type.ts";
import {
  blank,
  bool,
  int,
  int64,
  list,
  map,
  pointer,
  string,
  struct,
  type Type,
  time,
  uint64,
} from "./types.ts";

const labels = map(string);

const driver = pointer(
  struct(
    ["Attributes", labels],
    ["Detected Healthy", bool],
    ["HealthDescription", string],
    ["UpdateTime", time],
  ),
);

const nodeNetwork = pointer(
  struct(
    ["Mode Device MacAddress", string],
    ["Speed", int],
    ["Addresses", list(struct(["Family Alias Address ReservedPorts Gateway", string]))],
  ),
);

const drain = [
  ["Deadline", int64],
  ["IgnoreSystemJobs", bool],
] as const satisfies readonly (readonly [string, Type])[];

const volume = pointer(struct(["Name Path ID", string], ["ReadOnly", bool]));
const plugin = map(pointer(struct(["PluginID AllocID Provider", string], ["Healthy", bool])));

export const nodeType = struct(
  ["ID Datacenter Name HTTPAddr CgroupParent NodeClass NodePool ComputedClass", string],
  ["SchedulingEligibility Status StatusDescription IdentitySigningKeyID", string],
  ["SecretID", blank],
  ["TLSEnabled GCVolumesOnNodeGC", bool],
  ["Attributes Links Meta", labels],
  [
    "NodeResources",
    pointer(
      struct(
        [
          "Cpu",
          struct(
            ["CpuShares", int64],
            ["TotalCpuCores", uint64],
            ["ReservableCpuCores", list(uint64)],
          ),
        ],
        ["Memory", struct(["MemoryMB", int64])],
        ["Disk", struct(["DiskMB", int64])],
        ["Networks", networks],
        ["NodeNetworks", list(nodeNetwork)],
        ["Devices", list(pointer(struct(["Vendor Type Name", string], ["Attributes", labels])))],
        ["MinDynamicPort MaxDynamicPort", int],
      ),
    ),
  ],
  [
    "ReservedResources",
    pointer(
      struct(
        ["Cpu", struct(["CpuShares", int64], ["ReservedCpuCores", list(uint64)])],
        ["Memory", struct(["MemoryMB", int64])],
        ["Disk", struct(["DiskMB", int64])],
        ["Networks", struct(["ReservedHostPorts", string])],
      ),
    ),
  ],
  ["DrainStrategy", pointer(struct(...drain, ["ForceDeadline StartedAt", time]))],
  [
    "LastDrain",
    pointer(struct(["StartedAt UpdatedAt", time], ["Status AccessorID", string], ["Meta", labels])),
  ],
  ["StatusUpdatedAt", int64],
  [
    "Events",
    list(
      pointer(
        struct(
          ["Message Subsystem", string],
          ["Details", labels],
          ["Timestamp", time],
          ["CreateIndex", uint64],
        ),
      ),
    ),
  ],
  ["Drivers", map(driver)],
  ["CSIControllerPlugins CSINodePlugins", plugin],
  ["HostVolumes", map(volume)],
  ["HostNetworks", map(pointer(struct(["Name CIDR Interface ReservedPorts", string])))],
  ["NodeMaxAllocs", int],
  ["LastMissedHeartbeatIndex LastAllocUpdateIndex CreateIndex ModifyIndex", uint64],
);
