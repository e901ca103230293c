/** A task's state as clients see it: before it began, and as the next agent finds it. */
import type { TaskState } from "../../documents.ts";

/** What of a task outlives the agent. */
export interface SavedTask {
  readonly state: TaskState;
  /** It ended by itself, or was ended for good: it stays dead when the agent starts again. */
  readonly ended: boolean;
}

/** A task that has not begun. */
export const emptyState: TaskState = {
  State: "pending",
  Failed: false,
  Restarts: 0,
  LastRestart: null,
  StartedAt: null,
  FinishedAt: null,
  Events: [],
  Paused: "",
};

/** What a task begins with: one that had ended stays so. */
export const restored = (saved: SavedTask | undefined): TaskState => {
  if (saved === undefined) return emptyState;
  if (saved.ended) return saved.state;
  return { ...saved.state, State: "pending", Failed: false, FinishedAt: null };
};
