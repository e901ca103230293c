/** Nomad's Job and what lies in it, for filters. */
import {
  any,
  bool,
  float64,
  int,
  int64,
  list,
  map,
  pointer,
  string,
  struct,
  type Type,
  uint64,
} from "./types.ts";

const strings = list(string);
const labels = map(string);
const opaque = pointer(struct(["_", string]));

const constraint = pointer(struct(["LTarget RTarget Operand", string]));
const affinity = pointer(struct(["LTarget RTarget Operand", string], ["Weight", int64]));
const spread = pointer(
  struct(
    ["Attribute", string],
    ["Weight", int64],
    ["SpreadTarget", list(pointer(struct(["Value", string], ["Percent", uint64])))],
  ),
);

const port = struct(["Label HostNetwork", string], ["Value To", int], ["IgnoreCollision", bool]);
const network = pointer(
  struct(
    ["Mode Device CIDR IP Hostname", string],
    ["MBits", int],
    ["DNS", pointer(struct(["Servers Searches Options", strings]))],
    ["ReservedPorts DynamicPorts", list(port)],
    ["CNI", pointer(struct(["Args", labels]))],
  ),
);
export const networks = list(network);

const device = pointer(
  struct(
    ["Name", string],
    ["Count", uint64],
    ["Constraints", list(constraint)],
    ["Affinities", list(affinity)],
  ),
);
export const resources = pointer(
  struct(
    ["CPU Cores MemoryMB MemoryMaxMB DiskMB IOPS SecretsMB", int],
    ["Networks", networks],
    ["Devices", list(device)],
    ["NUMA", pointer(struct(["Affinity", string], ["Devices", strings]))],
  ),
);

const update = struct(
  ["Stagger MinHealthyTime HealthyDeadline ProgressDeadline", int64],
  ["MaxParallel Canary", int],
  ["HealthCheck", string],
  ["AutoRevert AutoPromote", bool],
);
const migrate = pointer(
  struct(["MaxParallel", int], ["HealthCheck", string], ["MinHealthyTime HealthyDeadline", int64]),
);
const restartPolicy = pointer(
  struct(["Attempts", int], ["Interval Delay", int64], ["Mode", string], ["RenderTemplates", bool]),
);
const reschedulePolicy = pointer(
  struct(
    ["Attempts", int],
    ["Interval Delay MaxDelay", int64],
    ["DelayFunction", string],
    ["Unlimited", bool],
  ),
);

const check = pointer(
  struct(
    [
      "Name Type Command Path Protocol PortLabel AddressMode InitialStatus Notes TLSServerName Method",
      string,
    ],
    ["GRPCService TaskName Body OnUpdate", string],
    ["Args", strings],
    ["Expose TLSSkipVerify GRPCUseTLS", bool],
    ["Interval Timeout", int64],
    ["SuccessBeforePassing FailuresBeforeCritical FailuresBeforeWarning", int],
    ["Header", map(strings)],
    ["CheckRestart", opaque],
  ),
);
const service = pointer(
  struct(
    [
      "Name TaskName PortLabel AddressMode Address Namespace OnUpdate Provider Cluster Kind",
      string,
    ],
    ["EnableTagOverride", bool],
    ["Tags CanaryTags", strings],
    ["Checks", list(check)],
    ["Connect Weights Identity", opaque],
    ["Meta CanaryMeta TaggedAddresses", labels],
  ),
);

const identity = pointer(
  struct(
    ["Name ChangeMode ChangeSignal Filepath ServiceName", string],
    ["Audience", strings],
    ["Env File", bool],
    ["TTL", int64],
    ["ExtraClaims", labels],
  ),
);
export const lifecycle = pointer(struct(["Hook", string], ["Sidecar", bool]));

const task = pointer(
  struct(
    ["Name Driver User KillSignal Kind", string],
    ["Config", map(any)],
    ["Env Meta", labels],
    ["Services", list(service)],
    ["Vault Consul DispatchPayload CSIPluginConfig Schedule", opaque],
    ["Secrets Templates Artifacts VolumeMounts ScalingPolicies Actions", list(opaque)],
    ["Constraints", list(constraint)],
    ["Affinities", list(affinity)],
    ["Resources", resources],
    ["RestartPolicy", restartPolicy],
    ["Lifecycle", lifecycle],
    ["KillTimeout ShutdownDelay", int64],
    ["LogConfig", pointer(struct(["MaxFiles MaxFileSizeMB", int], ["Disabled", bool]))],
    ["Leader", bool],
    ["Identity", identity],
    ["Identities", list(identity)],
  ),
);

const taskGroup = pointer(
  struct(
    ["Name", string],
    ["Count", int],
    ["Update", pointer(update)],
    ["Migrate", migrate],
    ["Constraints", list(constraint)],
    ["Affinities", list(affinity)],
    ["Spreads", list(spread)],
    ["Scaling Disconnect Consul", opaque],
    ["RestartPolicy", restartPolicy],
    ["ReschedulePolicy", reschedulePolicy],
    ["Tasks", list(task)],
    ["EphemeralDisk", pointer(struct(["Sticky Migrate", bool], ["SizeMB", int]))],
    ["Meta", labels],
    ["Networks", networks],
    ["Services", list(service)],
    ["Volumes", map(opaque)],
    ["ShutdownDelay MaxRunDuration StopAfterClientDisconnect MaxClientDisconnect", pointer(int64)],
    ["PreventRescheduleOnLost", bool],
  ),
);

export const jobType = struct(
  [
    "Region Namespace ID ParentID Name Type NodePool DispatchIdempotencyToken ConsulNamespace",
    string,
  ],
  ["VaultNamespace NomadTokenID Status StatusDescription", string],
  ["Stop AllAtOnce Dispatched Stable", bool],
  ["Priority", int],
  ["Datacenters", list(string)],
  ["Constraints", list(constraint)],
  ["Affinities", list(affinity)],
  ["Spreads", list(spread)],
  ["TaskGroups", list(taskGroup)],
  ["Update", update],
  ["Multiregion UI VersionTag", opaque],
  [
    "Periodic",
    pointer(
      struct(
        ["Enabled ProhibitOverlap", bool],
        ["Spec SpecType TimeZone", string],
        ["Specs", strings],
      ),
    ),
  ],
  [
    "ParameterizedJob",
    pointer(struct(["Payload", string], ["MetaRequired MetaOptional", strings])),
  ],
  ["Payload", any],
  ["Meta", labels],
  ["Version CreateIndex ModifyIndex JobModifyIndex", uint64],
  ["SubmitTime", int64],
);

const metricCounts = map(int);
export const allocationMetrics: Type = pointer(
  struct(
    ["NodesEvaluated NodesFiltered NodesInPool NodesExhausted CoalescedFailures", int],
    ["NodePool", string],
    [
      "NodesAvailable ClassFiltered ConstraintFiltered ClassExhausted DimensionExhausted",
      metricCounts,
    ],
    ["QuotaExhausted", strings],
    ["ResourcesExhausted", map(resources)],
    ["Scores", map(float64)],
    [
      "ScoreMetaData",
      list(pointer(struct(["NodeID", string], ["Scores", map(float64)], ["NormScore", float64]))),
    ],
    ["AllocationTime", int64],
  ),
);
