/** A task's environment and Nomad's `${...}` interpolation. */
import path from "node:path";
import type { NodeIdentity, TaskConfig, WorkloadConfig } from "../ports.ts";

/** What an allocation is, before anything of it runs. */
export interface AllocationIdentity {
  readonly id: string;
  readonly name: string;
  /** Position within the group's count. */
  readonly index: number;
  readonly directory: string;
  readonly workload: WorkloadConfig;
  readonly ports: ReadonlyMap<string, number>;
  /** The address ports are bound and announced on. */
  readonly address: string;
}

export const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const reference = /\$\{([A-Za-z0-9_.-]+)\}/g;

/** Replaces what it knows and leaves the rest: a shell's own `${x}` stays. */
const interpolate = (text: string, values: ReadonlyMap<string, string>): string =>
  text.replace(reference, (whole, name: string) => values.get(name) ?? whole);

const cleanName = (name: string): string => name.replace(/[^A-Za-z0-9_]/g, "_");

const metaVariables = (meta: Readonly<Record<string, string>>): [string, string][] =>
  Object.entries(meta).flatMap(([key, value]): [string, string][] => [
    [`NOMAD_META_${cleanName(key)}`, value],
    [`NOMAD_META_${cleanName(key).toUpperCase()}`, value],
  ]);

const portVariables = (address: string, label: string, port: number): [string, string][] => {
  const name = cleanName(label);
  const host = address.includes(":") ? `[${address}]` : address;
  return [
    [`NOMAD_IP_${name}`, address],
    [`NOMAD_PORT_${name}`, String(port)],
    [`NOMAD_ADDR_${name}`, `${host}:${port}`],
    [`NOMAD_HOST_IP_${name}`, address],
    [`NOMAD_HOST_PORT_${name}`, String(port)],
    [`NOMAD_HOST_ADDR_${name}`, `${host}:${port}`],
    [`NOMAD_ALLOC_PORT_${name}`, String(port)],
  ];
};

const ownVariables = (
  allocation: AllocationIdentity,
  task: TaskConfig,
  node: NodeIdentity,
): [string, string][] => {
  const { workload, directory, id } = allocation;
  const taskDirectory = path.join(directory, task.name);
  return [
    ["NOMAD_ALLOC_ID", id],
    ["NOMAD_SHORT_ALLOC_ID", id.slice(0, 8)],
    ["NOMAD_ALLOC_NAME", allocation.name],
    ["NOMAD_ALLOC_INDEX", String(allocation.index)],
    ["NOMAD_ALLOC_DIR", path.join(directory, "alloc")],
    ["NOMAD_TASK_DIR", path.join(taskDirectory, "local")],
    ["NOMAD_SECRETS_DIR", path.join(taskDirectory, "secrets")],
    ["NOMAD_TASK_NAME", task.name],
    ["NOMAD_GROUP_NAME", workload.group],
    ["NOMAD_JOB_ID", workload.job],
    ["NOMAD_JOB_NAME", workload.job],
    ["NOMAD_NAMESPACE", workload.namespace],
    ["NOMAD_DC", node.datacenter],
    ["NOMAD_REGION", node.region],
    ["NOMAD_CPU_LIMIT", String(task.resources.cpu)],
    ["NOMAD_MEMORY_LIMIT", String(task.resources.memoryMb)],
    ...metaVariables({ ...workload.meta, ...task.meta }),
    ...[...allocation.ports].flatMap(([label, port]) =>
      portVariables(allocation.address, label, port),
    ),
    // By this an agent finds processes that outlived the one that started them.
    ["SERAI_ALLOC_ID", id],
  ];
};

export interface TaskEnvironment {
  readonly env: Readonly<Record<string, string>>;
  readonly command: string;
  readonly args: readonly string[];
}

/** The task's environment, command and arguments with every known reference replaced; our own names always win. */
export const taskEnvironment = (
  allocation: AllocationIdentity,
  task: TaskConfig,
  node: NodeIdentity,
  searchPath: string,
): TaskEnvironment => {
  const own = ownVariables(allocation, task, node);
  const values = new Map([
    ["node.unique.id", node.id],
    ["node.unique.name", node.name],
    ["node.datacenter", node.datacenter],
    ["node.region", node.region],
    ["node.pool", node.nodePool],
    ...own,
  ]);
  const given = Object.entries(task.env).map(([name, value]): [string, string] => [
    name,
    interpolate(value, values),
  ]);
  const env = Object.fromEntries([["PATH", searchPath], ...given, ...own]);
  for (const [name, value] of given) if (!values.has(name)) values.set(name, value);
  return {
    env,
    command: interpolate(task.command, values),
    args: task.args.map((arg) => interpolate(arg, values)),
  };
};
