/** A workload as Nomad's Job document: every field Nomad writes, in its order. */
import type { Json, JsonObject } from "../../lib/json.ts";
import type {
  CheckConfig,
  NodeIdentity,
  ServiceConfig,
  TaskConfig,
  WorkloadConfig,
} from "../ports.ts";

export interface JobMoment {
  readonly version: number;
  readonly submitTime: bigint;
  readonly createIndex: number;
}

const millisecond = 1_000_000;
/** A job is declared, never registered anew: all allocations of its name, on whichever node, are of one job. */
const declaredIndex = 1;
const ephemeralDiskMb = 300;

const mapOrNull = (map: Readonly<Record<string, string>>): Json =>
  Object.keys(map).length === 0 ? null : { ...map };

const restartPolicy = ({ restart }: WorkloadConfig): Json => ({
  Attempts: restart.attempts,
  Interval: restart.intervalMs * millisecond,
  Delay: restart.delayMs * millisecond,
  Mode: restart.mode,
  RenderTemplates: false,
});

/** Nomad's old Resources form, used in tasks and as the allocation's own. */
export const resources = (
  values: { readonly cpu: number; readonly memoryMb: number; readonly memoryMaxMb?: number },
  diskMb: number,
  networks: Json,
): JsonObject => ({
  CPU: values.cpu,
  Cores: 0,
  MemoryMB: values.memoryMb,
  MemoryMaxMB: values.memoryMaxMb ?? 0,
  DiskMB: diskMb,
  IOPS: 0,
  Networks: networks,
  Devices: null,
  NUMA: null,
  SecretsMB: 0,
});

const checkDocument = (check: CheckConfig): Json => ({
  Name: check.name,
  Type: check.type,
  Command: "",
  Args: null,
  Path: check.type === "http" ? check.path : "",
  Protocol: "",
  PortLabel: check.port ?? "",
  Expose: false,
  AddressMode: "",
  Interval: check.intervalMs * millisecond,
  Timeout: check.timeoutMs * millisecond,
  InitialStatus: "",
  Notes: "",
  TLSServerName: "",
  TLSSkipVerify: false,
  Method: "",
  Header: null,
  CheckRestart: null,
  GRPCService: "",
  GRPCUseTLS: false,
  TaskName: "",
  SuccessBeforePassing: 0,
  FailuresBeforeCritical: 0,
  FailuresBeforeWarning: 0,
  Body: "",
  OnUpdate: "require_healthy",
});

const serviceDocument = (service: ServiceConfig, namespace: string): Json => ({
  Name: service.name,
  TaskName: service.task ?? "",
  PortLabel: service.port,
  AddressMode: "auto",
  Address: "",
  EnableTagOverride: false,
  Tags: service.tags.length === 0 ? null : service.tags,
  CanaryTags: null,
  Checks: service.checks.length === 0 ? null : service.checks.map(checkDocument),
  Connect: null,
  Meta: null,
  CanaryMeta: null,
  Weights: null,
  TaggedAddresses: null,
  Namespace: namespace,
  OnUpdate: "require_healthy",
  Provider: "nomad",
  Cluster: "default",
  Identity: null,
  Kind: "",
});

const servicesOf = (workload: WorkloadConfig, task: string | undefined): Json => {
  const own = workload.services.filter((service) => service.task === task);
  return own.length === 0
    ? null
    : own.map((service) => serviceDocument(service, workload.namespace));
};

/** A task's lifecycle as documents name it. */
export const lifecycleDocument = ({ lifecycle }: TaskConfig): Json =>
  lifecycle === undefined ? null : { Hook: lifecycle.hook, Sidecar: lifecycle.sidecar };

const taskDocument = (workload: WorkloadConfig, task: TaskConfig): Json => ({
  Name: task.name,
  Driver: "raw_exec",
  User: "",
  Config: { command: task.command, args: task.args },
  Env: mapOrNull(task.env),
  Services: servicesOf(workload, task.name),
  Vault: null,
  Secrets: null,
  Consul: null,
  Templates: null,
  Constraints: null,
  Affinities: null,
  Resources: resources(task.resources, 0, null),
  RestartPolicy: restartPolicy(workload),
  DispatchPayload: null,
  Lifecycle: lifecycleDocument(task),
  Meta: mapOrNull(task.meta),
  KillTimeout: task.killTimeoutMs * millisecond,
  LogConfig: {
    MaxFiles: task.logs.maxFiles,
    MaxFileSizeMB: task.logs.maxFileSizeMb,
    Disabled: task.logs.disabled,
  },
  Artifacts: null,
  Leader: task.leader,
  ShutdownDelay: 0,
  VolumeMounts: null,
  ScalingPolicies: null,
  KillSignal: task.killSignal,
  Kind: "",
  CSIPluginConfig: null,
  Identity: null,
  Identities: null,
  Actions: null,
  Schedule: null,
});

const networks = (workload: WorkloadConfig): Json => {
  if (workload.ports.length === 0) return null;
  const fixed = workload.ports.filter((port) => port.static !== undefined);
  const dynamic = workload.ports.filter((port) => port.static === undefined);
  return [
    {
      ...(fixed.length === 0
        ? {}
        : {
            ReservedPorts: fixed.map((port) => ({
              Label: port.label,
              Value: port.static ?? 0,
              HostNetwork: "default",
            })),
          }),
      ...(dynamic.length === 0
        ? {}
        : {
            DynamicPorts: dynamic.map((port) => ({ Label: port.label, HostNetwork: "default" })),
          }),
    },
  ];
};

const groupDocument = (workload: WorkloadConfig): Json => ({
  Name: workload.group,
  Count: workload.count,
  Update: null,
  Migrate: null,
  Constraints: null,
  Scaling: null,
  RestartPolicy: restartPolicy(workload),
  Disconnect: null,
  Tasks: workload.tasks.map((task) => taskDocument(workload, task)),
  EphemeralDisk: { Sticky: false, SizeMB: ephemeralDiskMb, Migrate: false },
  Meta: null,
  ReschedulePolicy: {
    Attempts: 0,
    Interval: 0,
    Delay: 0,
    DelayFunction: "",
    MaxDelay: 0,
    Unlimited: false,
  },
  Affinities: null,
  Spreads: null,
  Networks: networks(workload),
  Consul: null,
  Services: servicesOf(workload, undefined),
  Volumes: null,
  ShutdownDelay: null,
  MaxRunDuration: null,
  StopAfterClientDisconnect: null,
  MaxClientDisconnect: null,
  PreventRescheduleOnLost: false,
});

export const jobDocument = (
  workload: WorkloadConfig,
  node: NodeIdentity,
  moment: JobMoment,
  ended: { readonly stop: boolean; readonly status: "pending" | "running" | "dead" },
): JsonObject => ({
  Stop: ended.stop,
  Region: node.region,
  Namespace: workload.namespace,
  ID: workload.job,
  ParentID: "",
  Name: workload.job,
  Type: workload.type,
  Priority: 50,
  AllAtOnce: false,
  Datacenters: [node.datacenter],
  NodePool: node.nodePool,
  Constraints: null,
  Affinities: null,
  Spreads: null,
  TaskGroups: [groupDocument(workload)],
  Update: {
    Stagger: 0,
    MaxParallel: 0,
    HealthCheck: "",
    MinHealthyTime: 0,
    HealthyDeadline: 0,
    ProgressDeadline: 0,
    AutoRevert: false,
    AutoPromote: false,
    Canary: 0,
  },
  Multiregion: null,
  Periodic: null,
  ParameterizedJob: null,
  Dispatched: false,
  DispatchIdempotencyToken: "",
  Payload: null,
  Meta: mapOrNull(workload.meta),
  ConsulNamespace: "",
  VaultNamespace: "",
  NomadTokenID: "",
  Status: ended.status,
  StatusDescription: "",
  Stable: false,
  Version: moment.version,
  SubmitTime: moment.submitTime,
  CreateIndex: declaredIndex,
  ModifyIndex: moment.createIndex,
  JobModifyIndex: moment.createIndex,
  UI: null,
  VersionTag: null,
});
