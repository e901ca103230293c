/** All exec sessions of an agent: how many may run, and their end when the agent closes. */
import type { WebSocket } from "ws";
import { GatewayError } from "../../errors.ts";
import { whenAborted } from "../../lib/abort.ts";
import type { Clock, Log } from "../../ports.ts";
import type { Inbox } from "./inbox.ts";
import { startPlain } from "./plain-process.ts";
import type { ExecProcess } from "./process.ts";
import { findProgram } from "./program.ts";
import { Session, type SessionTimes } from "./session.ts";
import { endSession } from "./session-processes.ts";
import { startTerminal } from "./terminal-process.ts";

export interface ExecCommand {
  readonly arguments: readonly string[];
  readonly tty: boolean;
  readonly directory: string;
  readonly env: Readonly<Record<string, string>>;
  /** Throws a refusal when its task has ended: asked once the command runs, as the task's end finds only what runs. */
  readonly requireTask: () => void;
}

export interface ExecSessions {
  readonly live: number;
  /** Runs a command to its end on an open socket, which it closes. Throws a refusal when nothing was started. */
  run(
    socket: WebSocket,
    inbox: Inbox,
    command: ExecCommand,
    signal: AbortSignal,
  ): Promise<number | undefined>;
  /** Ends all sessions with `draining`; resolves when their processes are gone. */
  close(signal: AbortSignal): Promise<void>;
}

const start = async (command: ExecCommand): Promise<ExecProcess> => {
  const program = await findProgram(
    command.arguments,
    command.directory,
    command.env["PATH"] ?? "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
  );
  const { arguments: words, directory, env } = command;
  const started = { program, arguments: words, directory, env };
  return command.tty ? startTerminal(started) : startPlain(started);
};

export const createExecSessions = (
  needs: { readonly log: Log; readonly clock: Clock },
  options: { readonly maxSessions: number } & SessionTimes,
): ExecSessions => {
  const running = new Set<Promise<unknown>>();
  const closing = new AbortController();

  const runOne = async (
    socket: WebSocket,
    inbox: Inbox,
    command: ExecCommand,
    signal: AbortSignal,
  ): Promise<number | undefined> => {
    const startedAtMs = needs.clock.monotonic();
    const process = await start(command);
    try {
      command.requireTask();
    } catch (error) {
      await endSession(process.pid, 0);
      process.release();
      throw error;
    }
    const ends = AbortSignal.any([signal, closing.signal]);
    const session = new Session(socket, inbox, process, options);
    const exitCode = await session.run(ends);
    const durationMs = Math.round(needs.clock.monotonic() - startedAtMs);
    needs.log.info({ exitCode, tty: command.tty, pid: process.pid, durationMs }, "exec ended");
    return exitCode;
  };

  return {
    get live() {
      return running.size;
    },
    run(socket, inbox, command, signal) {
      if (closing.signal.aborted) return Promise.reject(new GatewayError("draining"));
      if (running.size >= options.maxSessions)
        return Promise.reject(
          new GatewayError("too_many_requests", { limit: String(options.maxSessions) }),
        );
      const run = runOne(socket, inbox, command, signal);
      const settled = run.then(
        () => undefined,
        () => undefined,
      );
      running.add(settled);
      void settled.then(() => running.delete(settled));
      return run;
    },
    async close(signal) {
      closing.abort(new GatewayError("draining"));
      await Promise.race([Promise.all(running), whenAborted(signal)]);
    },
  };
};
