/** The node as `GET /v1/node/:id` gives it, with the fields without which clients give up (nomad-clients.md §1.6). */
import { readFileSync, statfsSync } from "node:fs";
import { arch, constants, cpus, hostname, platform, release, totalmem } from "node:os";
import type { MetadataDocument, NodeDocument } from "../documents.ts";
import { hostOf } from "../lib/addresses.ts";
import type { JsonObject } from "../lib/json.ts";
import { deviceOf } from "./mounts.ts";
import { totalComputeMhz } from "./node-stats.ts";
import type { NodeIdentity } from "./ports.ts";

const bytesPerMb = 1024 * 1024;

/** The version that clients compare with what they need. */
export const nomadVersion = "2.0.5";

const goArch: Readonly<Record<string, string>> = { x64: "amd64", ia32: "386" };
const machine: Readonly<Record<string, string>> = { x64: "x86_64", arm64: "aarch64" };

const osRelease = (): { readonly name: string; readonly version: string } => {
  try {
    const text = readFileSync("/etc/os-release", "utf8");
    const field = (name: string): string =>
      new RegExp(`^${name}="?([^"\n]*)"?$`, "m").exec(text)?.[1] ?? "";
    return { name: field("ID") || platform(), version: field("VERSION_ID") };
  } catch {
    return { name: platform(), version: release() };
  }
};

/** What the allocations lie on. */
interface Disk {
  readonly bytes: number;
  readonly device: string;
}

const attributes = (address: string, { bytes, device }: Disk): Readonly<Record<string, string>> => {
  const { name, version } = osRelease();
  const [cpu] = cpus();
  return {
    "cpu.arch": goArch[arch()] ?? arch(),
    "cpu.frequency": String(cpu?.speed ?? 0),
    "cpu.modelname": cpu?.model ?? "",
    "cpu.numcores": String(cpus().length),
    "cpu.totalcompute": String(totalComputeMhz()),
    "cpu.usablecompute": String(totalComputeMhz()),
    "driver.raw_exec": "1",
    "kernel.arch": machine[arch()] ?? arch(),
    "kernel.name": platform(),
    "kernel.version": release(),
    "memory.totalbytes": String(totalmem()),
    "nomad.service_discovery": "true",
    "nomad.version": nomadVersion,
    "os.name": name,
    "os.signals": Object.keys(constants.signals).join(","),
    "os.version": version,
    "unique.advertise.address": address,
    "unique.hostname": hostname(),
    "unique.network.ip-address": hostOf(address),
    "unique.storage.bytestotal": String(bytes),
    "unique.storage.volume": device,
  };
};

const resources = ({ bytes }: Disk): JsonObject => ({
  Cpu: {
    CpuShares: totalComputeMhz(),
    TotalCpuCores: cpus().length,
    ReservableCpuCores: cpus().map((_cpu, index) => index),
  },
  Devices: [],
  Disk: { DiskMB: Math.floor(bytes / bytesPerMb) },
  MaxDynamicPort: 32_000,
  Memory: { MemoryMB: Math.floor(totalmem() / bytesPerMb), MemoryMaxMB: 0 },
  MinDynamicPort: 20_000,
  Networks: [],
  NodeNetworks: [],
});

const reserved: JsonObject = {
  Cpu: { CpuShares: 0, ReservedCpuCores: [] },
  Disk: { DiskMB: 0 },
  Memory: { MemoryMB: 0 },
  Networks: { ReservedHostPorts: "" },
};

const rawExec = (at: string): JsonObject => ({
  raw_exec: {
    Attributes: { "driver.raw_exec": "true" },
    Detected: true,
    HealthDescription: "Healthy",
    Healthy: true,
    UpdateTime: at,
  },
});

const diskOf = (folder: string): Disk => {
  const { bsize, blocks } = statfsSync(folder);
  return { bytes: bsize * blocks, device: deviceOf(folder) };
};

export interface NodeDocumentOptions {
  readonly node: NodeIdentity;
  readonly dataDirectory: string;
  /** `host:port` that the gateway dials. */
  readonly address: string;
  /** Its listener speaks TLS. */
  readonly tls: boolean;
  readonly startedAtMs: number;
}

/** The document now: all but the metadata stays as it was at the start. Indexes and status are the gateway's to set. */
export const createNodeDocument = (
  needs: { readonly metadata: { read(): MetadataDocument } },
  { node, dataDirectory, address, tls, startedAtMs }: NodeDocumentOptions,
): (() => NodeDocument) => {
  const disk = diskOf(dataDirectory);
  const startedAt = new Date(startedAtMs).toISOString();
  const fixed = {
    Attributes: attributes(address, disk),
    CSIControllerPlugins: {},
    CSINodePlugins: {},
    CgroupParent: "",
    ComputedClass: "",
    CreateIndex: 0,
    Datacenter: node.datacenter,
    Drain: false,
    DrainStrategy: null,
    Drivers: rawExec(startedAt),
    Events: [],
    HTTPAddr: address,
    HostNetworks: {},
    HostVolumes: {},
    ID: node.id,
    LastAllocUpdateIndex: 0,
    LastDrain: null,
    LastMissedHeartbeatIndex: 0,
    Links: {},
    ModifyIndex: 0,
    Name: node.name,
    NodeClass: node.nodeClass,
    NodeMaxAllocs: 0,
    NodePool: node.nodePool,
    NodeResources: resources(disk),
    ReservedResources: reserved,
    SchedulingEligibility: "eligible",
    SecretID: "",
    Status: "ready",
    StatusDescription: "",
    StatusUpdatedAt: Math.floor(startedAtMs / 1_000),
    TLSEnabled: tls,
  } as const;
  return () => ({ ...fixed, Meta: needs.metadata.read().Meta });
};
