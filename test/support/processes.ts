/** Gateways and agents as processes of their own, for what a process alone can show: signals, sudden death, a new start. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { stringify } from "yaml";
import { mintJoinToken, mintToken } from "../../src/acl/secrets.ts";

/** Polls until `look` answers something; fails with `what` after `withinMs`. */
export const until = async <T>(
  what: string | (() => string),
  look: () => T | undefined | false | Promise<T | undefined | false>,
  withinMs = 15_000,
): Promise<T> => {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const seen = await look();
    if (seen !== undefined && seen !== false) return seen;
    if (performance.now() > deadline)
      throw new Error(
        `not seen within ${withinMs} ms: ${typeof what === "string" ? what : what()}`,
      );
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
};

export type Line = Readonly<Record<string, unknown>>;

export interface Program {
  readonly child: ChildProcess;
  readonly pid: number;
  /** Every line of stdout so far, as text. */
  readonly output: readonly string[];
  readonly errors: readonly string[];
  /** Resolves with a line of its log once it is there. */
  readonly logged: (message: string, withinMs?: number) => Promise<Line>;
  readonly ended: Promise<{ readonly code: number | null; readonly signal: string | null }>;
  readonly kill: (signal: NodeJS.Signals) => void;
}

export interface GatewayProgram extends Program {
  readonly url: string;
  readonly adminUrl: string;
  /** `host:port`. */
  readonly address: string;
  readonly port: number;
}

export interface Secrets {
  readonly management: string;
  readonly operator: string;
  readonly reader: string;
  readonly none: string;
  readonly join: string;
}

export interface Home extends AsyncDisposable {
  readonly directory: string;
  readonly secrets: Secrets;
  readonly auditFile: string;
  readonly audit: () => readonly Line[];
  /** Settings beside the usual ones; `listen` fixes the port of an earlier start. */
  readonly gateway: (settings?: object, options?: Start) => Promise<GatewayProgram>;
  readonly agent: (
    name: string,
    gateway: string,
    settings?: object,
    options?: Start,
  ) => Promise<Program>;
  readonly spawn: (argv: readonly string[], options?: Start) => Program;
}

export interface Start {
  readonly env?: Readonly<Record<string, string>>;
  /** Arguments of node before the program. */
  readonly node?: readonly string[];
  /** How long an agent may take until it has announced itself. */
  readonly patienceMs?: number;
  /** Its limit of open files. */
  readonly openFiles?: number;
  /** A program with its arguments that becomes the one that is given behind them, as `env` or `ip netns exec` does. */
  readonly by?: readonly string[];
}

const policies = {
  operator: {
    namespace: [{ "*": { policy: "write", capabilities: ["alloc-node-exec"] } }],
    node: { policy: "write" },
    agent: { policy: "read" },
  },
  reader: {
    namespace: [{ default: { policy: "read", capabilities: ["read-logs", "read-fs"] } }],
    node: { policy: "read" },
  },
  none: { namespace: [{ "no-namespace": { policy: "deny" } }] },
};

const writeIdentity = (directory: string): Secrets => {
  const mint = (name: string, type: "client" | "management" = "client") =>
    mintToken({
      name,
      type,
      policies: type === "client" ? [name] : [],
      createdAtMs: Date.now(),
      expiresAtMs: undefined,
    });
  const tokens = {
    management: mint("management", "management"),
    operator: mint("operator"),
    reader: mint("reader"),
    none: mint("none"),
  };
  const join = mintJoinToken({
    node: "*",
    uses: 10_000,
    createdAtMs: Date.now(),
    expiresAtMs: undefined,
  });
  mkdirSync(path.join(directory, "policies"));
  for (const [name, policy] of Object.entries(policies))
    writeFileSync(path.join(directory, "policies", `${name}.yaml`), stringify(policy));
  writeFileSync(
    path.join(directory, "tokens.yaml"),
    stringify({ tokens: Object.values(tokens).map(({ entry }) => entry) }),
    { mode: 0o600 },
  );
  writeFileSync(path.join(directory, "join.yaml"), stringify({ tokens: [join.entry] }), {
    mode: 0o600,
  });
  return {
    management: tokens.management.secretId,
    operator: tokens.operator.secretId,
    reader: tokens.reader.secretId,
    none: tokens.none.secretId,
    join: join.secret,
  };
};

const program = path.resolve(import.meta.dirname, "../../bin/serai.mjs");

/** What the program's first line gives to node. */
export const nodeFlags: readonly string[] = (
  /^#!\/usr\/bin\/env -S node (.+)\n/.exec(readFileSync(program, "utf8"))?.[1] ?? ""
).split(" ");

const parsed = (line: string): Line | undefined => {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? (value as Line) : undefined; // a log line
  } catch {
    return undefined;
  }
};

const start = (
  argv: readonly string[],
  { env = {}, node = [], openFiles, by = [] }: Start = {},
): Program => {
  const command = [...by, process.execPath, ...nodeFlags, ...node, program, ...argv];
  const [file = "", ...rest] =
    openFiles === undefined
      ? command
      : ["/bin/sh", "-c", `ulimit -n ${openFiles}; exec "$@"`, "sh", ...command];
  const child = spawn(file, rest, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...env },
  });
  const output: string[] = [];
  const errors: string[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => output.push(line));
  createInterface({ input: child.stderr }).on("line", (line) => errors.push(line));
  const ended = once(child, "close").then(([code, signal]) => ({ code, signal }));
  return {
    child,
    pid: child.pid ?? 0,
    output,
    errors,
    ended,
    logged: (message, withinMs) =>
      until(
        `${message} (stderr: ${errors.join(" ")})`,
        () => {
          const line = output.find((text) => text.includes(`"msg":"${message}`));
          if (line === undefined && child.exitCode !== null)
            throw new Error(`ended with ${child.exitCode}: ${errors.join(" ")}`);
          return line === undefined ? undefined : parsed(line);
        },
        withinMs,
      ),
    kill: (signal) => void child.kill(signal),
  };
};

const merge = (base: object, over: object): object => {
  const merged: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const before = merged[key];
    merged[key] =
      typeof value === "object" && !Array.isArray(value) && typeof before === "object"
        ? merge(before ?? {}, value ?? {})
        : value;
  }
  return merged;
};

/** Processes that work below a directory: an agent's tasks outlive its sudden death, so that its next start finds them. */
export const processesBelow = (directory: string): readonly number[] =>
  readdirSync("/proc")
    .filter((name) => {
      try {
        return /^\d+$/.test(name) && readlinkSync(`/proc/${name}/cwd`).startsWith(`${directory}/`);
      } catch {
        return false; // it has ended
      }
    })
    .map(Number);

const endAllBelow = (directory: string): void => {
  for (const pid of processesBelow(directory))
    try {
      process.kill(pid, "SIGKILL");
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error; // it has ended
    }
};

/** A directory with tokens, policies and a join token; every process started in it is ended with it. */
export const createHome = (): Home => {
  const directory = mkdtempSync(path.join(tmpdir(), "serai-test-"));
  const secrets = writeIdentity(directory);
  const auditFile = path.join(directory, "audit.json");
  const running: Program[] = [];
  let files = 0;

  const keep = <P extends Program>(one: P): P => {
    running.push(one);
    return one;
  };
  const settingsFile = (settings: object): string => {
    const file = path.join(directory, `settings-${++files}.yaml`);
    writeFileSync(file, stringify(settings), { mode: 0o600 });
    return file;
  };

  return {
    directory,
    secrets,
    auditFile,
    audit: () =>
      readFileSync(auditFile, "utf8")
        .trimEnd()
        .split("\n")
        .map((line) => parsed(line) ?? assert.fail(`no JSON: ${line}`)),
    spawn: (argv, options) => keep(start(argv, options)),
    gateway: async (settings = {}, options = {}) => {
      const usual = {
        data_dir: path.join(directory, "gateway"),
        http: { listen: "127.0.0.1:0" },
        admin: { listen: "127.0.0.1:0" },
        acl: {
          tokens_file: path.join(directory, "tokens.yaml"),
          policies_dir: path.join(directory, "policies"),
          join_tokens_file: path.join(directory, "join.yaml"),
        },
        reach: { allow: ["127.0.0.0/8"] },
        timeouts: { drain: "1s", drain_delay: "0s" },
        audit: { output: auditFile },
      };
      const one = keep(
        start(["server", "--config", settingsFile(merge(usual, settings))], options),
      );
      const { url, admin } = await one.logged("gateway listens");
      const at = new URL(String(url));
      return {
        ...one,
        url: String(url),
        adminUrl: String(admin),
        address: at.host,
        port: Number(at.port),
      };
    },
    agent: async (name, gateway, settings = {}, options = {}) => {
      const usual = {
        name,
        data_dir: path.join(directory, "agents", name),
        listen: "127.0.0.1:0",
        gateway: { address: gateway, join_token: secrets.join },
        workloads: [],
      };
      mkdirSync(path.join(directory, "agents", name), { recursive: true });
      const one = keep(start(["agent", "--config", settingsFile(merge(usual, settings))], options));
      await one.logged("announced to the gateway", options.patienceMs);
      return one;
    },
    async [Symbol.asyncDispose]() {
      for (const { child } of running)
        if (child.exitCode === null && child.signalCode === null) child.kill("SIGTERM");
      const cut = setTimeout(() => {
        for (const { child } of running)
          if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
      }, 5_000);
      await Promise.all(running.map(({ ended }) => ended));
      clearTimeout(cut);
      endAllBelow(directory);
      rmSync(directory, { recursive: true, force: true });
    },
  };
};

/** A service of one task: a shell script. */
export const shellWorkload = (
  job: string,
  script: string,
  more: object = {},
): Readonly<Record<string, unknown>> => ({
  job,
  group: "main",
  tasks: [{ name: "main", command: "/bin/sh", args: ["-c", script], kill_timeout: "1s" }],
  ...more,
});
