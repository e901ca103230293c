/** Nomad's Evaluation, for filters. */
import { allocationMetrics } from "./job-type.ts";
import { bool, int, int64, list, map, pointer, string, struct, time, uint64 } from "./types.ts";

const desiredUpdates = pointer(
  struct(
    ["Ignore Place Migrate Stop InPlaceUpdate DestructiveUpdate Canary Preemptions", uint64],
    ["Disconnect Reconnect RescheduleNow RescheduleLater", uint64],
  ),
);

export const evaluationType = struct(
  ["ID Namespace Type TriggeredBy JobID NodeID DeploymentID Status StatusDescription", string],
  ["NextEval PreviousEval BlockedEval QuotaLimitReached", string],
  ["Priority", int],
  ["Wait CreateTime ModifyTime", int64],
  ["WaitUntil", time],
  ["JobModifyIndex NodeModifyIndex SnapshotIndex CreateIndex ModifyIndex", uint64],
  ["EscapedComputedClass AnnotatePlan", bool],
  ["ClassEligibility", map(bool)],
  ["QueuedAllocations", map(int)],
  ["FailedTGAllocs", map(allocationMetrics)],
  [
    "PlanAnnotations",
    pointer(
      struct(
        ["DesiredTGUpdates", map(desiredUpdates)],
        ["PreemptedAllocs", list(pointer(struct(["ID Namespace JobID TaskGroup", string])))],
      ),
    ),
  ],
);
