/** An agent's allocation document, checked as far as the gateway and its clients rely on it. */
import type { AllocationDocument, ClientStatus, TaskEvent, TaskState } from "../../documents.ts";
import { isJsonObject, isShallow, type Json, type JsonObject, parseJson } from "../../lib/json.ts";
import { isUuid } from "../../lib/uuid.ts";

/** Why a document is not taken; the metric's label. */
export type DropReason = "malformed" | "foreign_node" | "rival" | "too_large" | "too_many";

export type CheckedAllocation =
  | { readonly ok: true; readonly document: AllocationDocument }
  | { readonly ok: false; readonly reason: DropReason; readonly id: string | undefined };

const maxNameLength = 512;
const maxTasks = 256;
const maxEvents = 64;

const clientStatuses: Readonly<Record<string, ClientStatus>> = {
  pending: "pending",
  running: "running",
  complete: "complete",
  failed: "failed",
  lost: "lost",
  unknown: "unknown",
};
const desiredStatuses: Readonly<Record<string, AllocationDocument["DesiredStatus"]>> = {
  run: "run",
  stop: "stop",
  evict: "evict",
};
const taskStates: Readonly<Record<string, TaskState["State"]>> = {
  pending: "pending",
  running: "running",
  dead: "dead",
};

/** The row of a table that holds own keys alone. */
const known = <Value>(table: Readonly<Record<string, Value>>, key: Json | undefined) =>
  typeof key === "string" && Object.hasOwn(table, key) ? table[key] : undefined;

class Malformed extends Error {
  override readonly name = "Malformed";
}

const text = (source: JsonObject, field: string): string => {
  const value = source[field];
  if (typeof value !== "string" || value.length > maxNameLength) throw new Malformed(field);
  return value;
};

const name = (source: JsonObject, field: string): string => {
  const value = text(source, field);
  if (value === "") throw new Malformed(field);
  return value;
};

const uuid = (source: JsonObject, field: string): string => {
  const value = text(source, field);
  if (!isUuid(value)) throw new Malformed(field);
  return value;
};

const nanoseconds = (source: JsonObject, field: string): bigint => {
  const value = source[field];
  if (typeof value === "bigint") return value;
  if (typeof value === "number" && Number.isSafeInteger(value)) return BigInt(value);
  throw new Malformed(field);
};

const timeOrNull = (source: JsonObject, field: string): string | null =>
  source[field] === null || source[field] === undefined ? null : text(source, field);

const object = (value: Json | undefined, field: string): JsonObject => {
  if (!isJsonObject(value)) throw new Malformed(field);
  return value;
};

/** For people alone: what is no text or number is left empty. */
const words = (value: Json | undefined): string =>
  typeof value === "object" || value === undefined ? "" : String(value);

const details = (value: Json | undefined): Readonly<Record<string, string>> => {
  if (value === null || value === undefined) return {};
  return Object.fromEntries(
    Object.entries(object(value, "Details")).map(([key, detail]) => [key, words(detail)]),
  );
};

const eventOf = (value: Json): TaskEvent => {
  const source = object(value, "Events");
  return {
    ...source,
    Type: text(source, "Type"),
    Time: nanoseconds(source, "Time"),
    Message: words(source["Message"]),
    DisplayMessage: words(source["DisplayMessage"]),
    Details: details(source["Details"]),
  };
};

const eventsOf = (value: Json | undefined): readonly TaskEvent[] => {
  if (value === null || value === undefined) return [];
  if (!Array.isArray(value)) throw new Malformed("Events");
  const all: readonly Json[] = value;
  return all.slice(-maxEvents).map(eventOf);
};

const stateOf = (value: Json): TaskState => {
  const source = object(value, "TaskStates");
  const state = known(taskStates, source["State"]);
  const restarts = source["Restarts"] ?? 0;
  if (state === undefined || typeof restarts !== "number") throw new Malformed("TaskStates");
  return {
    ...source,
    State: state,
    Failed: source["Failed"] === true,
    Restarts: restarts,
    LastRestart: timeOrNull(source, "LastRestart"),
    StartedAt: timeOrNull(source, "StartedAt"),
    FinishedAt: timeOrNull(source, "FinishedAt"),
    Events: eventsOf(source["Events"]),
    Paused: typeof source["Paused"] === "string" ? source["Paused"] : "",
  };
};

const statesOf = (value: Json | undefined): AllocationDocument["TaskStates"] => {
  if (value === null || value === undefined) return null;
  const entries = Object.entries(object(value, "TaskStates"));
  if (entries.length > maxTasks) throw new Malformed("TaskStates");
  return Object.fromEntries(entries.map(([task, state]) => [task, stateOf(state)]));
};

/** The CLI follows these without looking (nomad-clients.md §1.6). */
const jobOf = (source: JsonObject): JsonObject => {
  const job = object(source["Job"], "Job");
  name(job, "Type");
  const groups: Json | undefined = job["TaskGroups"];
  if (!Array.isArray(groups)) throw new Malformed("TaskGroups");
  for (const group of groups) {
    const tasks = object(group, "TaskGroups")["Tasks"];
    if (!Array.isArray(tasks)) throw new Malformed("Tasks");
    for (const task of tasks) name(object(task, "Tasks"), "Name");
  }
  return job;
};

const documentOf = (source: JsonObject, id: string): AllocationDocument => {
  const desired = known(desiredStatuses, source["DesiredStatus"]);
  const client = known(clientStatuses, source["ClientStatus"]);
  if (desired === undefined || client === undefined) throw new Malformed("status");
  return {
    ...source,
    ID: id,
    Namespace: name(source, "Namespace"),
    EvalID: uuid(source, "EvalID"),
    Name: name(source, "Name"),
    NodeID: uuid(source, "NodeID"),
    NodeName: text(source, "NodeName"),
    JobID: name(source, "JobID"),
    Job: jobOf(source),
    TaskGroup: name(source, "TaskGroup"),
    AllocatedResources: source["AllocatedResources"] ?? null,
    DesiredStatus: desired,
    DesiredDescription: words(source["DesiredDescription"]),
    ClientStatus: client,
    ClientDescription: words(source["ClientDescription"]),
    TaskStates: statesOf(source["TaskStates"]),
    CreateIndex: 0,
    ModifyIndex: 0,
    CreateTime: nanoseconds(source, "CreateTime"),
    ModifyTime: nanoseconds(source, "ModifyTime"),
  };
};

const parsed = (bytes: Uint8Array): JsonObject | undefined => {
  try {
    const value = parseJson(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString());
    return isJsonObject(value) && isShallow(value) ? value : undefined;
  } catch {
    return undefined; // not JSON, or nested beyond the parser's stack
  }
};

/** Indexes come out as 0: the gateway gives its own. */
export const checkAllocation = (bytes: Uint8Array, nodeId: string): CheckedAllocation => {
  const source = parsed(bytes);
  const given = source?.["ID"];
  const id = typeof given === "string" && isUuid(given) ? given : undefined;
  if (source === undefined || id === undefined) return { ok: false, reason: "malformed", id };
  if (source["NodeID"] !== nodeId) return { ok: false, reason: "foreign_node", id };
  try {
    return { ok: true, document: documentOf(source, id) };
  } catch (error) {
    if (error instanceof Malformed) return { ok: false, reason: "malformed", id };
    throw error;
  }
};
