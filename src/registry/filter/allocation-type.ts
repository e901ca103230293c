/** Nomad's Allocation, for filters. */
import { allocationMetrics, jobType, lifecycle, networks, resources } from "./job-type.ts";
import { bool, int, int64, list, map, pointer, string, struct, time, uint64 } from "./types.ts";

const taskEvent = pointer(
  struct(
    [
      "Type Message DisplayMessage RestartReason SetupError DriverError KillError KillReason",
      string,
    ],
    ["DownloadError ValidationError FailedSibling VaultError TaskSignalReason TaskSignal", string],
    ["DriverMessage GenericSource", string],
    ["Time KillTimeout StartDelay DiskLimit", int64],
    ["ExitCode Signal", int],
    ["FailsTask", bool],
    ["Details", map(string)],
  ),
);

const taskState = pointer(
  struct(
    ["State Paused", string],
    ["Failed", bool],
    ["Restarts", uint64],
    ["LastRestart StartedAt FinishedAt", time],
    ["Events", list(taskEvent)],
  ),
);

const allocatedDevice = pointer(struct(["Vendor Type Name", string], ["DeviceIDs", list(string)]));
const allocatedTask = pointer(
  struct(
    ["Cpu", struct(["CpuShares", int64], ["ReservedCores", list(uint64)])],
    ["Memory", struct(["MemoryMB MemoryMaxMB", int64])],
    ["Networks", networks],
    ["Devices", list(allocatedDevice)],
  ),
);
const portMapping = struct(["Label HostIP", string], ["Value To", int], ["IgnoreCollision", bool]);

const rescheduleEvent = pointer(
  struct(["RescheduleTime Delay", int64], ["PrevAllocID PrevNodeID", string]),
);

export const allocationType = struct(
  [
    "ID Namespace EvalID Name NodeID NodeName JobID TaskGroup DesiredStatus DesiredDescription",
    string,
  ],
  ["ClientStatus ClientDescription PreviousAllocation NextAllocation DeploymentID", string],
  ["FollowupEvalID PreemptedByAllocation SigningKeyID", string],
  ["Job", pointer(jobType)],
  ["Resources SharedResources", resources],
  ["TaskResources", map(resources)],
  [
    "AllocatedResources",
    pointer(
      struct(
        ["Tasks", map(allocatedTask)],
        ["TaskLifecycles", map(lifecycle)],
        ["Shared", struct(["Networks", networks], ["DiskMB", int64], ["Ports", list(portMapping)])],
      ),
    ),
  ],
  ["Metrics", allocationMetrics],
  [
    "DesiredTransition",
    struct([
      "Migrate Reschedule ForceReschedule NoShutdownDelay MigrateDisablePlacement",
      pointer(bool),
    ]),
  ],
  ["TaskStates", map(taskState)],
  ["AllocStates", list(pointer(struct(["Field", int], ["Value", string], ["Time", time])))],
  [
    "DeploymentStatus",
    pointer(
      struct(
        ["Healthy", pointer(bool)],
        ["Timestamp", time],
        ["Canary", bool],
        ["ModifyIndex", uint64],
      ),
    ),
  ],
  [
    "RescheduleTracker",
    pointer(struct(["Events", list(rescheduleEvent)], ["LastReschedule", string])),
  ],
  [
    "NetworkStatus",
    pointer(
      struct(
        ["InterfaceName Address AddressIPv6", string],
        ["DNS", pointer(struct(["Servers Searches Options", list(string)]))],
      ),
    ),
  ],
  ["PreemptedAllocations", list(string)],
  ["CreateIndex ModifyIndex AllocModifyIndex", uint64],
  ["CreateTime ModifyTime", int64],
);
