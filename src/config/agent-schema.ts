/** Every setting of `serai agent`, a row each. `workloads` becomes what src/agent/ports.ts calls WorkloadConfig. */
import { hostname } from "node:os";
import type { z } from "zod";
import {
  argumentList,
  duration,
  durationOrZero,
  filePath,
  flag,
  hostPort,
  httpUrl,
  integer,
  oneOf,
  plainName,
  secretText,
  servers,
  text,
  textMap,
  texts,
} from "./kinds.ts";
import { logRows } from "./log-rows.ts";
import {
  type Document,
  list,
  optional,
  optionalSection,
  required,
  secret,
  section,
  setting,
  shownAs,
} from "./settings.ts";
import { type Check, doubles, faultsOf } from "./sound.ts";
import { inTheClear, isHalf, tlsChecks, withoutTls } from "./tls-checks.ts";

// biome-ignore format: a table
const checks = list("Health checks of a service", {
  name: required(text, "its name, one of a kind in the service"),
  type: required(oneOf("tcp", "http"), "a connection, or a GET that answers 2xx"),
  path: setting(text, "/", "what an http check asks for"),
  port: optional(text, "a port label other than the service's"),
  interval: setting(duration, "10s", "time between two checks"),
  timeout: setting(duration, "2s", "a check that takes longer has failed"),
});

// biome-ignore format: a table
const services = list("Services of the group or of a task", {
  name: required(text, "its name"),
  port: required(text, "a port label of the group"),
  task: optional(text, "the task it belongs to; the group without it"),
  tags: setting(texts, [], "its tags"),
  checks,
});

// biome-ignore format: a table
const tasks = list("Processes of the group", {
  name: required(plainName, "its name, one of a kind in the group"),
  command: required(text, "the program, a path or a name found in PATH; no shell is involved"),
  args: setting(argumentList, [], "its arguments; a task variable written as `$` and its name in braces is filled in"),
  env: secret(setting(textMap, {}, "added to its environment")),
  meta: setting(textMap, {}, "shown in the job's document and as NOMAD_META_*"),
  lifecycle: optionalSection("When it runs; a main task without it", {
    hook: required(oneOf("prestart", "poststart", "poststop"), "before, after the start or after the end of the main tasks"),
    sidecar: setting(flag, false, "runs beside the main tasks instead of ending before them"),
  }),
  kill_timeout: setting(duration, "5s", "from the kill signal to SIGKILL"),
  kill_signal: setting(oneOf("SIGINT", "SIGTERM", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGKILL"), "SIGINT", "asks it to end"),
  logs: section("Its logs, rotated by size", {
    max_files: setting(integer(1, 1000), 10, "files kept of each of stdout and stderr"),
    max_file_size_mb: setting(integer(1, 100_000), 10, "MiB of one file"),
    disabled: setting(flag, false, "keeps none"),
  }),
  resources: section("What it says it needs; shown, not enforced", {
    cpu: setting(integer(1, 10_000_000), 100, "MHz"),
    memory_mb: setting(integer(1, 100_000_000), 300, "MiB"),
  }),
  leader: setting(flag, false, "its end ends the others"),
});

// biome-ignore format: a table
const workloads = list("What this agent runs", {
  job: required(plainName, "the job's id"),
  namespace: setting(plainName, "default", "its namespace"),
  type: setting(oneOf("service", "batch"), "service", "a service is started again when it ends well, a batch is then complete"),
  group: required(plainName, "the task group's name"),
  count: setting(integer(0, 1000), 1, "allocations of it"),
  meta: setting(textMap, {}, "shown in the job's document and as NOMAD_META_*"),
  ports: list("Ports of the group, given to its tasks as NOMAD_PORT_<label>", {
    label: required(plainName, "its name"),
    static: optional(integer(1, 65_535), "a fixed port; a free one without it"),
  }),
  restart: section("What happens when a task ends", {
    attempts: setting(integer(0, 1_000_000), 2, "restarts in one interval"),
    interval: setting(duration, "30m", "the interval"),
    delay: setting(durationOrZero, "15s", "wait before a restart"),
    mode: setting(oneOf("fail", "delay"), "fail", "after the last attempt: the allocation fails, or waits for the next interval"),
  }),
  services,
  tasks,
});

// biome-ignore format: a table
export const agentRows = section("The agent", {
  name: shownAs("the host's name", setting(plainName, hostname(), "the node's name")),
  data_dir: setting(filePath, ".serai/agent", "where it keeps its state and the allocations' directories"),
  listen: setting(hostPort, "127.0.0.1:4656", "where the gateway connects; not used with `gateway.tunnel`"),
  advertise: optional(hostPort, "the address the gateway dials; `listen` without it"),
  region: setting(plainName, "global", "its region; must be the gateway's"),
  datacenter: setting(plainName, "dc1", "its datacenter"),
  node_pool: setting(plainName, "default", "its node pool"),
  node_class: optional(plainName, "its node class"),
  meta: setting(textMap, {}, "its static metadata"),
  gateway: section("The gateway it announces itself to", {
    address: setting(httpUrl, "http://127.0.0.1:4646", "the gateway's public listener"),
    join_token: secret(optional(secretText, "proves that it may join; `serai token join` prints one")),
    ca_file: optional(filePath, "authorities of the gateway's certificate; the system's without it"),
    tunnel: setting(flag, false, "dials out and keeps a tunnel open instead of listening; see docs/tunnel.md"),
    tunnel_addresses: setting(servers, [], "gateways to keep a tunnel to, in turn; `address` without them"),
    cert_file: optional(filePath, "the node's certificate, which proves it in place of the join token; read for each connection"),
    key_file: optional(filePath, "its private key"),
    tunnel_cleartext: setting(flag, false, "lets a tunnel to another machine go without TLS: whoever listens on the way can read and write everything"),
  }),
  tls: section("TLS of its listener; off without a certificate", {
    cert_file: optional(filePath, "certificate chain in PEM; read again at SIGHUP"),
    key_file: optional(filePath, "its private key in PEM"),
    client_ca_file: optional(filePath, "the gateway must show a certificate of these authorities"),
  }),
  acl: section("Who may do what", {
    enabled: setting(flag, true, "asks the gateway what each caller may; false lets everyone do everything"),
  }),
  gc: section("Collection of finished allocations", {
    max_allocs: setting(integer(1, 1_000_000), 50, "allocations kept; the oldest finished ones are collected beyond it"),
  }),
  log: logRows,
  workloads,
});

export type AgentConfig = z.output<typeof agentRows.schema>;

type Workload = AgentConfig["workloads"][number];

const isKnown = (labels: readonly { readonly label: string }[], asked: string): boolean =>
  labels.some(({ label }) => label === asked);

const serviceChecks: readonly Check<[Workload["services"][number], Workload, path: string]>[] = [
  ({ port, checks: asking }, { ports }, path) =>
    [...new Set([port, ...asking.map((check) => check.port ?? port)])]
      .filter((label) => !isKnown(ports, label))
      .map((label) => `${path}: no port of the group is labelled ${label}`),
  ({ task }, { tasks: all }, path) =>
    task !== undefined &&
    !all.some(({ name }) => name === task) &&
    `${path}.task: no task of the group is named ${task}`,
];

const workloadChecks: readonly Check<[Workload, path: string]>[] = [
  (workload, path) => workload.tasks.length === 0 && `${path}.tasks: needs at least one task`,
  (workload, path) =>
    workload.tasks.filter(({ leader }) => leader).length > 1 &&
    `${path}.tasks: only one may be the leader`,
  (workload, path) =>
    doubles(workload.tasks.map(({ name }) => name)).map(
      (name) => `${path}.tasks: two are named ${name}`,
    ),
  (workload, path) =>
    doubles(workload.ports.map(({ label }) => label)).map(
      (label) => `${path}.ports: two are labelled ${label}`,
    ),
  (workload, path) =>
    workload.services.flatMap((service, at) =>
      faultsOf(serviceChecks, service, workload, `${path}.services.${at}`),
    ),
];

const groupName = ({ namespace, job, group }: Workload): string => `${namespace}/${job}/${group}`;

const gatewaysOf = ({ address, tunnelAddresses }: AgentConfig["gateway"]): readonly string[] =>
  tunnelAddresses.length > 0 ? tunnelAddresses : [address];

const gatewayChecks: readonly Check<[AgentConfig["gateway"]]>[] = [
  (gateway) =>
    isHalf(gateway) && "gateway.cert_file: needs gateway.key_file, and the other way round",
  (gateway) => {
    const { address, certFile, keyFile, joinToken, tunnel } = gateway;
    if (certFile === undefined || keyFile === undefined) return undefined;
    // where it is shown: for the tunnel, and to be announced when there is no join token
    const shownTo = [
      ...(tunnel ? gatewaysOf(gateway) : []),
      ...(joinToken === undefined ? [address] : []),
    ];
    return [...new Set(withoutTls(shownTo))].map(
      (host) => `gateway.cert_file: ${host} is without TLS, where no certificate can be shown`,
    );
  },
  (gateway) => {
    const { certFile, keyFile, tunnel, tunnelCleartext } = gateway;
    if (!tunnel || tunnelCleartext || certFile !== undefined || keyFile !== undefined)
      return undefined;
    return inTheClear(gatewaysOf(gateway)).map(
      (host) =>
        `gateway.tunnel: ${host} is another machine; use https, or set gateway.tunnel_cleartext`,
    );
  },
];

const agentChecks: readonly Check<[AgentConfig]>[] = [
  ({ tls }) => faultsOf(tlsChecks, tls),
  ({ gateway }) => faultsOf(gatewayChecks, gateway),
  (config) =>
    doubles(config.workloads.map(groupName)).map(
      (name) => `workloads: two are ${name} (namespace/job/group)`,
    ),
  (config) =>
    config.workloads.flatMap((workload, at) =>
      faultsOf(workloadChecks, workload, `workloads.${at}`),
    ),
];

export const agentDocument: Document<AgentConfig> = {
  kind: "agent",
  prefix: "SERAI_AGENT",
  root: agentRows,
  faults: (config) => faultsOf(agentChecks, config),
  warnings: (config) => [
    ...(config.gateway.joinToken === undefined && config.gateway.certFile === undefined
      ? [
          "neither gateway.join_token nor gateway.cert_file is set: the gateway will not let this agent join",
        ]
      : []),
    ...(config.acl.enabled
      ? []
      : ["acl.enabled is false: whoever reaches `listen` may run commands on this machine"]),
  ],
};
