/** What an allocation's status is, and who starts and dies when, from its tasks' states. Pure. */
import type { ClientStatus, TaskState } from "../../documents.ts";
import type { TaskConfig } from "../ports.ts";
import { type EventWords, leaderDead, mainsDead, siblingFailed } from "./events.ts";

/** The part of a task these rules look at. */
export interface TaskView {
  readonly name: string;
  readonly state: TaskState["State"];
  readonly failed: boolean;
  readonly started: boolean;
  /** It is being ended to run anew. */
  readonly restarting: boolean;
  readonly config: TaskConfig;
}

export const isPoststop = (task: TaskView): boolean => task.config.lifecycle?.hook === "poststop";

export const isSidecar = (task: TaskView): boolean =>
  task.config.lifecycle !== undefined && !isPoststop(task) && task.config.lifecycle.sidecar;

export const isTerminal = (status: ClientStatus): boolean =>
  status === "complete" || status === "failed" || status === "lost";

/** Nomad's roll-up: failed before running before pending before complete. */
export const rollUp = (
  tasks: readonly TaskView[],
): { readonly status: ClientStatus; readonly description: string } => {
  if (tasks.some((task) => task.state === "dead" && task.failed))
    return { status: "failed", description: "Failed tasks" };
  if (tasks.some((task) => task.state === "running"))
    return { status: "running", description: "Tasks are running" };
  if (tasks.some((task) => task.state === "pending"))
    return { status: "pending", description: "No tasks have started" };
  return { status: "complete", description: "All tasks have completed" };
};

const prestartAllows = (task: TaskView): boolean =>
  task.config.lifecycle?.sidecar === true
    ? task.state === "running" && !task.restarting
    : task.state === "dead" && !task.failed;

/** Whether a task's turn has come: prestart, then main, then poststart; poststop once all others have ended. */
export const mayStart = (task: TaskView, all: readonly TaskView[]): boolean => {
  const withHook = (hook: string | undefined) =>
    all.filter((other) => other.config.lifecycle?.hook === hook);
  switch (task.config.lifecycle?.hook) {
    case "prestart":
      return true;
    case "poststart":
      return withHook(undefined).every((main) => main.state !== "pending" && !main.restarting);
    case "poststop":
      return all.every((other) => isPoststop(other) || other.state === "dead");
    case undefined:
      return withHook("prestart").every(prestartAllows);
  }
};

/** Why the tasks that still live must end now, or undefined. A dead leader goes before a failed sibling. */
export const endingReason = (tasks: readonly TaskView[]): EventWords | undefined => {
  const others = tasks.filter((task) => !isPoststop(task));
  const live = others.filter((task) => task.state !== "dead");
  if (live.length === 0) return undefined;
  if (others.some((task) => task.state === "dead" && !task.failed && task.config.leader))
    return leaderDead;
  const failed = others.find((task) => task.state === "dead" && task.failed);
  if (failed !== undefined) return siblingFailed(failed.name);
  return live.every(isSidecar) ? mainsDead : undefined;
};
