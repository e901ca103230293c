/** What is asked of the tasks of one allocation together, with Nomad's words for what went wrong. */
import { failed } from "../../errors.ts";
import { isPoststop, isSidecar } from "./status.ts";
import type { Task } from "./task.ts";

/** Go's multierror, as Nomad words it. */
const multiError = (errors: readonly string[]): string =>
  `${errors.length === 1 ? "1 error" : `${errors.length} errors`} occurred:\n${errors
    .map((words) => `\t* ${words}\n`)
    .join("")}\n`;

const wordsOf = (reason: unknown): string =>
  reason instanceof Error ? reason.message : String(reason);

const all = async (
  tasks: readonly Task[],
  act: (task: Task) => Promise<void>,
  words: string,
): Promise<void> => {
  const errors: string[] = [];
  await Promise.all(
    tasks.map((task) =>
      act(task).catch((error: unknown) => {
        // Not running any more: there was nothing to restart.
        if (wordsOf(error) !== "Task not running")
          errors.push(`${words} ${task.name}: ${wordsOf(error)}`);
      }),
    ),
  );
  if (errors.length > 0) throw failed(multiError(errors));
};

export interface RestartOptions {
  /** "" for all that run. */
  readonly taskName: string;
  /** Finished ones too. */
  readonly allTasks: boolean;
}

export const restartTasks = async (
  tasks: readonly Task[],
  { taskName, allTasks }: RestartOptions,
  mayRun: boolean,
): Promise<void> => {
  if (taskName !== "" && allTasks)
    throw failed("task name cannot be set when restarting all tasks");
  if (taskName !== "") {
    const task = tasks.find(({ name }) => name === taskName);
    if (task === undefined) throw failed(`Could not find task runner for task: ${taskName}`);
    return task.restart("User requested task to restart");
  }
  if (!mayRun) throw failed("restart of an alloc that should not run");
  const reason = allTasks
    ? "User requested all tasks to restart"
    : "User requested running tasks to restart";
  const running = tasks.filter((task) => task.state === "running");
  const restarted = all(running, (task) => task.restart(reason), "failed to restart task");
  // Beside them: each waits for its turn behind those that are being ended, and they behind it.
  if (allTasks) for (const task of tasks) if (!isPoststop(task)) task.revive(reason);
  await restarted;
};

/** `name` is "" for all. */
export const signalTasks = (tasks: readonly Task[], signal: string, name: string): void => {
  if (name !== "") {
    const task = tasks.find((one) => one.name === name);
    if (task === undefined) throw failed("Task not found");
    task.signal(signal);
    return;
  }
  const errors: string[] = [];
  for (const task of tasks) {
    try {
      task.signal(signal);
    } catch (error) {
      errors.push(`Failed to signal task: ${task.name}, err: ${wordsOf(error)}`);
    }
  }
  if (errors.length > 0) throw failed(multiError(errors));
};

/** The leader, the others, then what runs beside them; poststop tasks end by themselves. */
export const killInOrder = async (tasks: readonly Task[]): Promise<void> => {
  const killAll = (some: readonly Task[]) => Promise.all(some.map((task) => task.kill()));
  const others = tasks.filter((task) => !isPoststop(task));
  await killAll(others.filter((task) => task.config.leader));
  await killAll(others.filter((task) => !task.config.leader && !isSidecar(task)));
  await killAll(others.filter((task) => !task.config.leader && isSidecar(task)));
};

const unkillableMs = 5_000;

/** A process that even SIGKILL does not end (it waits for a dead disk) must not hold the agent for ever. */
export const endedOrGivenUp = async (
  ended: Promise<void>,
  signal: AbortSignal,
  tell: () => void,
): Promise<void> => {
  const givenUp = Promise.withResolvers<void>();
  let timer: NodeJS.Timeout | undefined;
  const giveUp = (): void => {
    timer = setTimeout(() => {
      tell();
      givenUp.resolve();
    }, unkillableMs);
  };
  if (signal.aborted) giveUp();
  else signal.addEventListener("abort", giveUp, { once: true });
  await Promise.race([ended, givenUp.promise]);
  signal.removeEventListener("abort", giveUp);
  clearTimeout(timer);
};
