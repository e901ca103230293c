/**
 * Starts a command on a terminal of its own. The package's fork hands the masters of all open terminals on to the new process, which
 * could read and type into another's session. So the command is started like any other, where setsid is there to make the terminal its own.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, existsSync, openSync } from "node:fs";
import { createRequire } from "node:module";
import { terminalClosed, terminalOpened, withoutTerminals } from "./open-terminals.ts";
import { exitCodeOf } from "./plain-process.ts";
import type { Command } from "./process.ts";

interface NativePty {
  fork(
    file: string,
    args: readonly string[],
    env: readonly string[],
    cwd: string,
    cols: number,
    rows: number,
    uid: number,
    gid: number,
    utf8: boolean,
    helperPath: string,
    onExit: (code: number, signal: number) => void,
  ): { readonly fd: number; readonly pid: number; readonly pty: string };
  open(
    cols: number,
    rows: number,
  ): { readonly master: number; readonly slave: number; readonly pty: string };
  resize(fd: number, cols: number, rows: number): void;
}

const require = createRequire(import.meta.url);

export const loadNative = (): NativePty => {
  const { requireBinary } = require("@lydell/node-pty/requireBinary.js") as {
    requireBinary(file: string): NativePty;
  }; // the package types its Terminal alone; its version is pinned
  return requireBinary("pty.node");
};

const helperPath = (): string =>
  process.platform === "darwin"
    ? require.resolve(`@lydell/node-pty-darwin-${process.arch}/spawn-helper`)
    : "";

const size = [80, 24] as const;
const sameUser = -1;
const signalBase = 128;
/** Its `-c` is Linux's. */
const setsid =
  process.platform === "linux"
    ? ["/usr/bin/setsid", "/bin/setsid"].find((file) => existsSync(file))
    : undefined;

export interface Started {
  readonly pid: number;
  /** The terminal's master, non-blocking; noted as open for `owner`. */
  readonly fd: number;
  /** Held by us too, closed by who asked; undefined when the process has ended already. */
  readonly slave: number | undefined;
  readonly exited: Promise<number>;
}

type Environment = Readonly<Record<string, string>>;

/** Its slave is opened anew: that of the package does not block, as a program's streams must. */
const openTerminal = (owner: object): { readonly fd: number; readonly slave: number } => {
  const { master: fd, slave: other, pty } = loadNative().open(...size);
  try {
    const slave = openSync(pty, constants.O_RDWR | constants.O_NOCTTY);
    terminalOpened(fd, owner);
    return { fd, slave };
  } catch (error) {
    closeSync(fd);
    throw error;
  } finally {
    closeSync(other);
  }
};

const spawned = async (
  file: string,
  { program, arguments: words, directory: cwd }: Command,
  env: Environment,
  owner: object,
): Promise<Started> => {
  const { fd, slave } = openTerminal(owner);
  try {
    const child = withoutTerminals((more) =>
      spawn(file, ["-c", program, ...words.slice(1)], {
        cwd,
        env,
        stdio: [slave, slave, slave, ...more],
      }),
    );
    const exited = new Promise<number>((resolve) => {
      child.once("exit", (code, signal) => resolve(exitCodeOf(code, signal)));
    });
    await once(child, "spawn");
    return { pid: child.pid ?? 0, fd, slave, exited }; // set, as it has spawned
  } catch (error) {
    closeSync(slave);
    closeSync(fd);
    terminalClosed(fd, owner);
    throw error;
  }
};

const openSlave = (name: string): number | undefined => {
  try {
    return openSync(name, constants.O_RDONLY | constants.O_NOCTTY);
  } catch {
    return undefined; // the process has ended already
  }
};

const forked = (
  { program, arguments: words, directory }: Command,
  env: Environment,
  owner: object,
): Started => {
  const { promise: exited, resolve } = Promise.withResolvers<number>();
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const { fd, pid, pty } = loadNative().fork(
    program,
    words.slice(1),
    variables,
    directory,
    ...size,
    sameUser,
    sameUser,
    false,
    helperPath(),
    (code, signal) => resolve(signal > 0 ? signalBase + signal : code),
  );
  terminalOpened(fd, owner);
  return { pid, fd, slave: openSlave(pty), exited };
};

/** Throws what the system says. `owner` tells `terminalClosed` when the master is closed. */
export const startOnTerminal = async (command: Command, owner: object): Promise<Started> => {
  const env = { TERM: "xterm", ...command.env, PWD: command.directory };
  return setsid === undefined
    ? forked(command, env, owner)
    : await spawned(setsid, command, env, owner);
};
