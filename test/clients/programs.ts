/** Programs of clients that others wrote, made ready to run. They come from their registries: what is missing is skipped aloud, and a failure under CI=1. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import path from "node:path";
import type { TestContext } from "node:test";

export const patienceMs = 150_000;

/** What a program's calls are made about: the JSON that it takes, as go/main.go says it. */
export interface Places {
  readonly Node: string;
  readonly Talker: {
    readonly Alloc: string;
    readonly Job: string;
    readonly Group: string;
    readonly Task: string;
  };
  readonly Files: {
    readonly Alloc: string;
    readonly Directory: string;
    readonly Path: string;
    readonly Large: string;
    readonly Contents: Readonly<Record<string, string>>;
  };
  readonly Done: {
    readonly Alloc: string;
    readonly Task: string;
    readonly Stdout: string;
    readonly Stderr: string;
  };
  readonly Ends: { readonly Alloc: string; readonly Namespace: string };
  readonly Service: string;
  readonly Cluster: boolean;
}

/** It takes NOMAD_ADDR and NOMAD_TOKEN from its environment; `show`: it prints what its calls gave. */
export interface ClientProgram {
  readonly command: string;
  readonly argv: (places: Places, show?: "show") => readonly string[];
}

interface Step {
  readonly command: string;
  readonly argv: readonly string[];
  readonly cwd?: string;
}

/** What went wrong, in its last lines. */
const faultOf = ({ command, argv, cwd = import.meta.dirname }: Step): string | undefined => {
  const done = spawnSync(command, argv, { cwd, encoding: "utf8", timeout: patienceMs });
  if (done.status === 0) return undefined;
  const words = done.error?.message ?? done.stderr.trim().split("\n").slice(-3).join(" ");
  return `${command} ${argv[0]}: ${words}`;
};

/** False when a step fails, which skips the test, or fails it under CI=1. */
const prepared = (t: TestContext, steps: readonly Step[]): boolean => {
  for (const step of steps) {
    const fault = faultOf(step);
    if (fault === undefined) continue;
    assert.notEqual(process.env["CI"], "1", fault);
    t.skip(fault);
    return false;
  }
  return true;
};

/** Undefined: it was skipped. */
export const goClient = (t: TestContext, directory: string): ClientProgram | undefined => {
  const cwd = path.join(import.meta.dirname, "go");
  const command = path.join(directory, "client");
  const steps = [
    { command: "go", argv: ["mod", "download"], cwd },
    { command: "go", argv: ["build", "-o", command, "."], cwd },
  ];
  if (!prepared(t, steps)) return undefined;
  const argv: ClientProgram["argv"] = (places, show) => [
    ...(show === undefined ? [] : ["-show"]),
    "-places",
    JSON.stringify(places),
  ];
  return { command, argv };
};

export const pythonClient = (t: TestContext, directory: string): ClientProgram | undefined => {
  const here = path.join(import.meta.dirname, "python");
  const venv = path.join(directory, "venv");
  const command = path.join(venv, "bin/python");
  const requirements = path.join(here, "requirements.txt");
  const steps = [
    { command: "python3", argv: ["-m", "venv", venv] },
    { command, argv: ["-m", "pip", "install", "-q", "-r", requirements] },
  ];
  if (!prepared(t, steps)) return undefined;
  const argv: ClientProgram["argv"] = (places, show) => [
    path.join(here, "client.py"),
    JSON.stringify(places),
    ...(show === undefined ? [] : ["--show"]),
  ];
  return { command, argv };
};
