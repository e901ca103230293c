/** The restart policy of one task, as Nomad's tracker decides it. No timers, no I/O. */
import type { TaskConfig, WorkloadConfig } from "../ports.ts";
import { goDuration, withinPolicy } from "./events.ts";

/** How one run of a task ended. */
export type Outcome =
  | { readonly kind: "exited"; readonly exitCode: number; readonly signal: number }
  | { readonly kind: "not_started"; readonly reason: string; readonly recoverable: boolean };

export type Verdict =
  | { readonly kind: "restart"; readonly delayMs: number; readonly reason: string }
  | { readonly kind: "done" }
  | { readonly kind: "failed"; readonly reason: string };

export interface RestartTracker {
  /** What follows an end that nobody asked for; counts it against the policy. */
  judge(outcome: Outcome, nowMs: number): Verdict;
}

/** Nomad spreads restarts by up to a quarter of the delay. */
const jitterShare = 0.25;

const restartsOnSuccess = (workload: WorkloadConfig, task: TaskConfig): boolean => {
  if (task.lifecycle === undefined) return workload.type === "service";
  return task.lifecycle.hook !== "poststop" && task.lifecycle.sidecar;
};

/** `random` gives [0, 1). */
export const createRestartTracker = (
  workload: WorkloadConfig,
  task: TaskConfig,
  random: () => number,
): RestartTracker => {
  const { attempts, intervalMs, delayMs, mode } = workload.restart;
  const onSuccess = restartsOnSuccess(workload, task);
  let count = 0;
  let intervalStartMs: number | undefined;

  const exceeded = (nowMs: number): Verdict =>
    mode === "fail"
      ? {
          kind: "failed",
          reason: `Exceeded allowed attempts ${attempts} in interval ${goDuration(intervalMs)} and mode is "fail"`,
        }
      : {
          kind: "restart",
          delayMs: Math.max(0, (intervalStartMs ?? nowMs) + intervalMs - nowMs),
          reason: "Exceeded allowed attempts, applying a delay",
        };

  return {
    judge: (outcome, nowMs) => {
      if (outcome.kind === "not_started" && !outcome.recoverable)
        return { kind: "failed", reason: "Error was unrecoverable" };
      const success = outcome.kind === "exited" && outcome.exitCode === 0 && outcome.signal === 0;
      if (success && !onSuccess) return { kind: "done" };
      if (intervalStartMs === undefined || nowMs > intervalStartMs + intervalMs) {
        count = 0;
        intervalStartMs = nowMs;
      }
      count++;
      if (attempts === 0) return { kind: "failed", reason: "Policy allows no restarts" };
      if (count > attempts) return exceeded(nowMs);
      const jitterMs = Math.floor(random() * delayMs * jitterShare);
      return { kind: "restart", delayMs: delayMs + jitterMs, reason: withinPolicy };
    },
  };
};
