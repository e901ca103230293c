/** One run of a task: a child process leading its own group, its output in log files. */

import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import path from "node:path";
import type { Readable } from "node:stream";
import { errnoOf } from "../../errors.ts";
import type { Log } from "../../ports.ts";
import { withoutTerminals } from "../exec/open-terminals.ts";
import { sendSignal, signalNumber } from "../signals.ts";
import type { TaskEnvironment } from "./environment.ts";
import { type LogFiles, openLogFiles } from "./log-files.ts";
import { type OutputPipe, openOutputPipes } from "./output-pipes.ts";
import { killStragglers } from "./stragglers.ts";

export interface ProcessSpec extends TaskEnvironment {
  readonly allocationId: string;
  readonly task: string;
  readonly directory: string;
  /** undefined: output is not kept. */
  readonly logs:
    | { readonly directory: string; readonly maxFiles: number; readonly maxFileBytes: number }
    | undefined;
}

export interface Exit {
  /** 128 + n when a signal n ended it. */
  readonly exitCode: number;
  readonly signal: number;
}

export interface TaskProcess {
  readonly pid: number;
  /** False as soon as the main process has ended, though its output may still be on its way. */
  readonly alive: boolean;
  /** Resolves when the process and all it started are gone and its output is in the files. */
  readonly exited: Promise<Exit>;
  /** To the main process alone. */
  signal(signal: NodeJS.Signals): void;
  /** Asks the whole group, kills it after the grace. Resolves when it is gone. */
  end(signal: NodeJS.Signals, graceMs: number): Promise<void>;
}

/** Why a process could not be started; `recoverable` when a later try may succeed. */
export class StartError extends Error {
  override readonly name = "StartError";
  readonly recoverable: boolean;

  constructor(words: string, recoverable: boolean, options: { readonly cause: unknown }) {
    super(words, options);
    this.recoverable = recoverable;
  }
}

const recoverableCodes: ReadonlySet<string> = new Set(["EAGAIN", "ENOMEM", "EMFILE", "ENFILE"]);

const toStartError = (command: string, error: unknown): StartError => {
  const code = errnoOf(error) ?? "unknown";
  return new StartError(
    `failed to launch command with executor: command ${JSON.stringify(command)} cannot be started: ${code}`,
    recoverableCodes.has(code),
    { cause: error },
  );
};

const isExecutable = (file: string): boolean => {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
};

/** raw_exec looks into the task's own directories before PATH. */
const findCommand = (spec: ProcessSpec): string => {
  if (path.isAbsolute(spec.command)) return spec.command;
  const own = [path.join(spec.directory, "local"), spec.directory].map((directory) =>
    path.join(directory, spec.command),
  );
  return own.find(isExecutable) ?? spec.command;
};

const drainLookMs = 500;
/** Looks at a pipe that others than the task go on writing to. */
const maxDrainLooks = 10;

/** Moves output into files, one chunk at a time: a slow disk slows the process, nothing piles up. */
class Pump {
  readonly #source: Readable;
  readonly #files: LogFiles;
  #chunks = 0;
  #writing = false;
  readonly #done: Promise<void>;

  constructor(source: Readable, files: LogFiles) {
    this.#source = source;
    this.#files = files;
    source.on("error", () => source.destroy());
    this.#done = this.#run();
  }

  async #run(): Promise<void> {
    try {
      for await (const chunk of this.#source) {
        this.#writing = true;
        await this.#files.write(chunk);
        this.#writing = false;
        this.#chunks++;
      }
    } catch {
      // the pipe was destroyed below, or broke: what came is written
    } finally {
      await this.#files.close();
    }
  }

  /**
   * After the process ended: reads what is left. A pipe that someone still holds open, silently or for long, is let go. A
   * slow disk's time does not count.
   */
  async drain(): Promise<void> {
    let seen = -1;
    let looks = 0;
    const timer = setInterval(() => {
      const isSilent = seen === this.#chunks;
      seen = this.#chunks;
      if (isSilent && this.#writing) return;
      looks++;
      if (isSilent || looks >= maxDrainLooks) this.#source.destroy();
    }, drainLookMs);
    await this.#done;
    clearInterval(timer);
  }
}

const openSinks = async (log: Log, spec: ProcessSpec): Promise<readonly LogFiles[]> => {
  if (spec.logs === undefined) return [];
  const options = { ...spec.logs, task: spec.task };
  const out = await openLogFiles(log, { ...options, type: "stdout" });
  try {
    return [out, await openLogFiles(log, { ...options, type: "stderr" })];
  } catch (error) {
    await out.close();
    throw error;
  }
};

type Output = "ignore" | "pipe" | number;

const launch = (spec: ProcessSpec, out: Output, err: Output): Promise<ChildProcess> =>
  new Promise((resolve, reject) => {
    const child = withoutTerminals((more) =>
      spawn(findCommand(spec), [...spec.args], {
        cwd: spec.directory,
        env: spec.env,
        detached: true,
        stdio: ["ignore", out, err, ...more],
      }),
    );
    child.on("error", reject); // stays attached: a late failure to signal must not be uncaught
    child.once("spawn", () => resolve(child));
  });

interface Launched {
  readonly child: ChildProcess;
  /** What it writes to stdout and stderr; empty when nobody keeps it. */
  readonly sources: readonly Readable[];
}

const launchWithSockets = async (spec: ProcessSpec): Promise<Launched> => {
  const child = await launch(spec, "pipe", "pipe");
  return { child, sources: [child.stdout, child.stderr].filter((source) => source !== null) };
};

const launchKept = async (log: Log, spec: ProcessSpec): Promise<Launched> => {
  let pipes: readonly [OutputPipe, OutputPipe];
  try {
    pipes = await openOutputPipes(path.join(spec.directory, "private"));
  } catch (error) {
    log.warn({ err: error, task: spec.task }, "no pipes for a task's output: it gets sockets");
    return launchWithSockets(spec);
  }
  const [out, err] = pipes;
  const sources = [out.source, err.source];
  try {
    return { child: await launch(spec, out.childEnd, err.childEnd), sources };
  } catch (error) {
    for (const source of sources) source.destroy();
    throw error;
  } finally {
    out.release();
    err.release();
  }
};

const launchDisabled = async (spec: ProcessSpec): Promise<Launched> => ({
  child: await launch(spec, "ignore", "ignore"),
  sources: [],
});

const toExit = (code: number | null, signal: NodeJS.Signals | null): Exit => {
  if (signal === null) return { exitCode: code ?? 0, signal: 0 };
  const number = signalNumber(signal);
  return { exitCode: 128 + number, signal: number };
};

const whenEnded = async (spec: ProcessSpec, child: ChildProcess, pid: number): Promise<Exit> => {
  const exit = await new Promise<Exit>((resolve) => {
    child.once("exit", (code, signal) => resolve(toExit(code, signal)));
  });
  sendSignal(-pid, "SIGKILL");
  killStragglers(spec.allocationId, spec.task);
  return exit;
};

const within = async (promise: Promise<unknown>, ms: number): Promise<boolean> => {
  const { promise: late, resolve } = Promise.withResolvers<false>();
  const timer = setTimeout(() => resolve(false), ms);
  try {
    return await Promise.race([promise.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
};

/** Starts the task's command. Throws StartError. */
export const startProcess = async (log: Log, spec: ProcessSpec): Promise<TaskProcess> => {
  let sinks: readonly LogFiles[] = [];
  let launched: Launched;
  try {
    sinks = await openSinks(log, spec);
    launched = await (spec.logs === undefined ? launchDisabled(spec) : launchKept(log, spec));
  } catch (error) {
    await Promise.all(sinks.map((sink) => sink.close()));
    throw toStartError(spec.command, error);
  }
  const { child, sources } = launched;
  const pid = child.pid ?? 0; // set, as it has spawned
  const ended = whenEnded(spec, child, pid);
  const pumps = sources.flatMap((source, index) => {
    const files = sinks[index];
    return files === undefined ? [] : [new Pump(source, files)];
  });
  const exited = ended.then(async (exit) => {
    await Promise.all(pumps.map((pump) => pump.drain()));
    return exit;
  });
  const isAlive = (): boolean => child.exitCode === null && child.signalCode === null;
  return {
    pid,
    get alive() {
      return isAlive();
    },
    exited,
    signal: (signal) => {
      child.kill(signal);
    },
    end: async (signal, graceMs) => {
      if (isAlive()) sendSignal(-pid, signal);
      if (!(await within(ended, graceMs))) sendSignal(-pid, "SIGKILL");
      await exited;
    },
  };
};
