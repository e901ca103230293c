/** Task events in Nomad's words: type, display text, details and the deprecated fields that clients still read. */
import type { TaskEvent } from "../../documents.ts";

/** Go's `time.Duration.String()` for whole milliseconds and above: `0s`, `1.5s`, `1m30s`, `24h0m0s`. */
export const goDuration = (ms: number): string => {
  if (ms === 0) return "0s";
  if (ms < 1_000) return `${ms}ms`;
  const hours = Math.floor(ms / 3_600_000);
  const minutes = Math.floor(ms / 60_000) % 60;
  const seconds = `${(ms % 60_000) / 1_000}s`;
  if (hours > 0) return `${hours}h${minutes}m${seconds}`;
  return minutes > 0 ? `${minutes}m${seconds}` : seconds;
};

/** Nanoseconds of a wall clock's milliseconds. */
export const toNanoseconds = (ms: number): bigint => BigInt(Math.round(ms)) * 1_000_000n;

/** What one event says, before it has its time. */
export interface EventWords {
  readonly type: string;
  readonly message?: string;
  readonly display: string;
  readonly details?: Readonly<Record<string, string>>;
  /** The deprecated top-level fields this type fills. */
  readonly fields?: Readonly<Record<string, string | number | boolean>>;
}

const zeroFields = {
  FailsTask: false,
  RestartReason: "",
  SetupError: "",
  DriverError: "",
  ExitCode: 0,
  Signal: 0,
  KillTimeout: 0,
  KillError: "",
  KillReason: "",
  StartDelay: 0,
  DownloadError: "",
  ValidationError: "",
  DiskLimit: 0,
  FailedSibling: "",
  VaultError: "",
  TaskSignalReason: "",
  TaskSignal: "",
  DriverMessage: "",
  GenericSource: "",
} as const;

/** The event as Nomad writes it. */
export const toTaskEvent = (words: EventWords, time: bigint): TaskEvent => ({
  Type: words.type,
  Time: time,
  Message: words.message ?? "",
  DisplayMessage: words.display,
  Details: words.details ?? {},
  ...zeroFields,
  ...words.fields,
});

export const received: EventWords = { type: "Received", display: "Task received by client" };

export const taskSetup: EventWords = {
  type: "Task Setup",
  message: "Building Task Directory",
  display: "Building Task Directory",
  details: { message: "Building Task Directory" },
};

export const started: EventWords = { type: "Started", display: "Task started by client" };
export const killed: EventWords = { type: "Killed", display: "Task successfully killed" };
export const leaderDead: EventWords = {
  type: "Leader Task Dead",
  display: "Leader Task in Group dead",
};
export const mainsDead: EventWords = {
  type: "Main Tasks Dead",
  display: "Main tasks in the group died",
};

export const siblingFailed = (task: string): EventWords => ({
  type: "Sibling Task Failed",
  display: `Task's sibling ${JSON.stringify(task)} failed`,
  details: { failed_sibling: task },
  fields: { FailedSibling: task },
});

export const setupFailure = (reason: string): EventWords => ({
  type: "Setup Failure",
  display: reason,
  details: { setup_error: reason, fails_task: "true" },
  fields: { SetupError: reason, FailsTask: true },
});

export const driverFailure = (reason: string): EventWords => ({
  type: "Driver Failure",
  display: reason,
  details: { driver_error: reason },
  fields: { DriverError: reason },
});

export const terminated = (exitCode: number, signal: number): EventWords => ({
  type: "Terminated",
  display: signal === 0 ? `Exit Code: ${exitCode}` : `Exit Code: ${exitCode}, Signal: ${signal}`,
  details: { exit_code: String(exitCode), signal: String(signal), oom_killed: "false" },
  fields: { ExitCode: exitCode, Signal: signal },
});

/** Nomad's own name for the plain case, which it does not show. */
export const withinPolicy = "Restart within policy";

export const restarting = (delayMs: number, reason: string): EventWords => {
  const delay = Math.round(delayMs);
  const words = `Task restarting in ${goDuration(delay)}`;
  return {
    type: "Restarting",
    display: reason === "" || reason === withinPolicy ? words : `${reason} - ${words}`,
    details: { restart_reason: reason, start_delay: String(delay * 1_000_000) },
    fields: { StartDelay: delay * 1_000_000, RestartReason: reason },
  };
};

export const notRestarting = (reason: string): EventWords => ({
  type: "Not Restarting",
  display: reason,
  details: { restart_reason: reason, fails_task: "true" },
  fields: { FailsTask: true, RestartReason: reason },
});

export const restartSignaled = (reason: string): EventWords => ({
  type: "Restart Signaled",
  display: reason,
  details: { restart_reason: reason },
  fields: { RestartReason: reason },
});

export const killing = (killTimeoutMs: number): EventWords => ({
  type: "Killing",
  display: `Sent interrupt. Waiting ${goDuration(killTimeoutMs)} before force killing`,
  details: { kill_timeout: goDuration(killTimeoutMs) },
  fields: { KillTimeout: killTimeoutMs * 1_000_000 },
});

export const signaling = (signal: string): EventWords => ({
  type: "Signaling",
  display: "Task being sent a signal",
  details: { signal },
});
