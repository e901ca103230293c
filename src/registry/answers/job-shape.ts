/** Jobs, told from the allocations that carry them. */
import type { AllocationDocument, ClientStatus } from "../../documents.ts";
import type { JsonObject } from "../../lib/json.ts";
import { fieldsOf, isLive, listOf, numberOf, textOf } from "./documents.ts";
import { compareText } from "./paging.ts";

export interface JobEntry {
  readonly ID: string;
  readonly Namespace: string;
  /** The newest version that an allocation carries, its status that of all its allocations. */
  readonly job: JsonObject;
  readonly allocations: readonly AllocationDocument[];
  readonly modifyIndex: number;
}

const modifiedAt = (job: JsonObject): number =>
  Math.max(numberOf(job["ModifyIndex"]), numberOf(job["JobModifyIndex"]));

/** An earlier job of the name comes before a later one, and an earlier version before a later. */
const ageOrder = (one: JsonObject, other: JsonObject): number =>
  numberOf(one["CreateIndex"]) - numberOf(other["CreateIndex"]) ||
  numberOf(one["Version"]) - numberOf(other["Version"]) ||
  modifiedAt(one) - modifiedAt(other);

const newest = (allocations: readonly AllocationDocument[]): JsonObject =>
  allocations.map(({ Job }) => Job).reduce((best, job) => (ageOrder(job, best) > 0 ? job : best));

const toEntry = (
  Namespace: string,
  ID: string,
  allocations: readonly AllocationDocument[],
): JobEntry => {
  const job = newest(allocations);
  const live = allocations.some(isLive);
  return {
    ID,
    Namespace,
    job: { ...job, Stop: job["Stop"] === true && !live, Status: live ? "running" : "dead" },
    allocations,
    modifyIndex: allocations.reduce(
      (highest, { ModifyIndex }) => Math.max(highest, ModifyIndex),
      modifiedAt(job),
    ),
  };
};

/** Every job of the namespaces that pass, by namespace and id. */
export const jobsOf = (
  allocations: Iterable<AllocationDocument>,
  shown: (namespace: string) => boolean,
): readonly JobEntry[] => {
  const namespaces = new Map<string, Map<string, AllocationDocument[]>>();
  for (const allocation of allocations) {
    if (!shown(allocation.Namespace)) continue;
    const jobs = namespaces.get(allocation.Namespace) ?? new Map<string, AllocationDocument[]>();
    namespaces.set(allocation.Namespace, jobs);
    const known = jobs.get(allocation.JobID);
    if (known === undefined) jobs.set(allocation.JobID, [allocation]);
    else known.push(allocation);
  }
  return [...namespaces]
    .flatMap(([namespace, jobs]) => [...jobs].map(([id, own]) => toEntry(namespace, id, own)))
    .sort(
      (one, other) => compareText(one.Namespace, other.Namespace) || compareText(one.ID, other.ID),
    );
};

const columns: Readonly<Record<ClientStatus, string>> = {
  pending: "Starting",
  running: "Running",
  complete: "Complete",
  failed: "Failed",
  lost: "Lost",
  unknown: "Unknown",
};

const noneYet = { Queued: 0, Complete: 0, Failed: 0, Running: 0, Starting: 0, Lost: 0, Unknown: 0 };

const countsOf = ({ job, allocations }: JobEntry): Readonly<Record<string, object>> => {
  const groups = new Map<string, Record<string, number>>(
    listOf(job["TaskGroups"]).map((group) => [textOf(fieldsOf(group)["Name"]), { ...noneYet }]),
  );
  for (const { TaskGroup, ClientStatus } of allocations) {
    const counts = groups.get(TaskGroup) ?? { ...noneYet };
    groups.set(TaskGroup, counts);
    const column = columns[ClientStatus];
    counts[column] = (counts[column] ?? 0) + 1;
  }
  return Object.fromEntries(groups);
};

export const toJobSummary = (entry: JobEntry): object => ({
  JobID: entry.ID,
  Namespace: entry.Namespace,
  Summary: countsOf(entry),
  Children: { Pending: 0, Running: 0, Dead: 0 },
  CreateIndex: entry.job["CreateIndex"] ?? 0,
  ModifyIndex: entry.modifyIndex,
});

/** As many as Nomad keeps. */
const maxVersions = 6;

/** The versions that allocations still carry of the job that exists now, the newest first. */
export const versionsOf = ({ job, allocations }: JobEntry): readonly JsonObject[] => {
  const createdAt = numberOf(job["CreateIndex"]);
  const versions = new Map<number, AllocationDocument[]>();
  for (const allocation of allocations) {
    if (numberOf(allocation.Job["CreateIndex"]) !== createdAt) continue;
    const version = numberOf(allocation.Job["Version"]);
    const known = versions.get(version);
    if (known === undefined) versions.set(version, [allocation]);
    else known.push(allocation);
  }
  return [...versions]
    .sort(([one], [other]) => other - one)
    .slice(0, maxVersions)
    .map(([, own]) => ({
      ...newest(own),
      Stop: job["Stop"] ?? false,
      Status: job["Status"] ?? "",
    }));
};

export const toJobStub = (entry: JobEntry, withMeta: boolean): object => {
  const { job } = entry;
  const of = (name: string, fallback: unknown): unknown => job[name] ?? fallback;
  return {
    ID: entry.ID,
    ParentID: of("ParentID", ""),
    Name: of("Name", entry.ID),
    Namespace: entry.Namespace,
    Datacenters: of("Datacenters", []),
    NodePool: of("NodePool", "default"),
    Multiregion: of("Multiregion", null),
    Type: of("Type", ""),
    Priority: of("Priority", 0),
    Periodic: of("Periodic", null) !== null,
    ParameterizedJob: of("ParameterizedJob", null) !== null,
    Stop: of("Stop", false),
    Status: of("Status", ""),
    StatusDescription: of("StatusDescription", ""),
    JobSummary: toJobSummary(entry),
    CreateIndex: of("CreateIndex", 0),
    ModifyIndex: of("ModifyIndex", 0),
    JobModifyIndex: of("JobModifyIndex", 0),
    SubmitTime: of("SubmitTime", 0),
    Meta: withMeta ? of("Meta", null) : null,
  };
};
