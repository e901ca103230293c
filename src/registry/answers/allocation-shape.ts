/** An allocation as lists give it (every field, always) and as a read gives it (zero values left out). */
import type { AllocationDocument } from "../../documents.ts";
import { fieldsOf, filledFields, numberOf, textOf } from "./documents.ts";
import type { AllocationFields } from "./parameter-check.ts";

/** In Nomad's order. Signed identities are secrets and are not among them. */
const fields = [
  "ID", "Namespace", "EvalID", "Name", "NodeID", "NodeName", "JobID", "Job", "TaskGroup", "Resources",
  "SharedResources", "TaskResources", "AllocatedResources", "Metrics", "DesiredStatus", "DesiredDescription",
  "DesiredTransition", "ClientStatus", "ClientDescription", "TaskStates", "AllocStates", "PreviousAllocation",
  "NextAllocation", "DeploymentID", "DeploymentStatus", "RescheduleTracker", "NetworkStatus", "FollowupEvalID",
  "PreemptedAllocations", "PreemptedByAllocation", "SigningKeyID", "CreateIndex", "ModifyIndex", "AllocModifyIndex",
  "CreateTime", "ModifyTime",
] as const; // biome-ignore format: a list

export const toFullAllocation = (document: AllocationDocument): object =>
  filledFields(document, fields);

const transitionOf = (value: unknown): object => {
  const transition = fieldsOf(value);
  const of = (name: string): unknown => transition[name] ?? null;
  return {
    Migrate: of("Migrate"),
    Reschedule: of("Reschedule"),
    ForceReschedule: of("ForceReschedule"),
    NoShutdownDelay: of("NoShutdownDelay"),
    MigrateDisablePlacement: of("MigrateDisablePlacement"),
  };
};

export const toAllocationStub = (
  document: AllocationDocument,
  { resources, taskStates }: AllocationFields,
): object => ({
  ID: document.ID,
  EvalID: document.EvalID,
  Name: document.Name,
  Namespace: document.Namespace,
  NodeID: document.NodeID,
  NodeName: document.NodeName,
  JobID: document.JobID,
  JobType: textOf(document.Job["Type"]),
  JobVersion: numberOf(document.Job["Version"]),
  TaskGroup: document.TaskGroup,
  AllocatedResources: resources ? document.AllocatedResources : null,
  DesiredStatus: document.DesiredStatus,
  DesiredDescription: document.DesiredDescription ?? "",
  ClientStatus: document.ClientStatus,
  ClientDescription: document.ClientDescription ?? "",
  DesiredTransition: transitionOf(document["DesiredTransition"]),
  TaskStates: taskStates ? document.TaskStates : null,
  DeploymentStatus: document["DeploymentStatus"] ?? null,
  FollowupEvalID: textOf(document["FollowupEvalID"]),
  NextAllocation: textOf(document["NextAllocation"]),
  RescheduleTracker: document["RescheduleTracker"] ?? null,
  PreemptedAllocations: document["PreemptedAllocations"] ?? null,
  PreemptedByAllocation: textOf(document["PreemptedByAllocation"]),
  CreateIndex: document.CreateIndex,
  ModifyIndex: document.ModifyIndex,
  CreateTime: document.CreateTime,
  ModifyTime: document.ModifyTime,
});
