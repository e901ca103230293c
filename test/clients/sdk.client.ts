/**
 * Clients that others wrote, unmodified, against `serai dev`: the official Go SDK and python-nomad. They come from their
 * registries, so this runs by `npm run test:clients`; what is missing is skipped aloud, and a failure under CI=1.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import path from "node:path";
import { type TestContext, test } from "node:test";
import {
  allGone,
  type Directory,
  ready,
  root,
  run,
  serai,
  temporaryDirectory,
} from "../cli/support.ts";

const patienceMs = 150_000;

interface Step {
  readonly command: string;
  readonly argv: readonly string[];
  readonly cwd?: string;
}

/** What went wrong, in its last lines. */
const faultOf = ({ command, argv, cwd = root }: Step): string | undefined => {
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

/** Runs a client against a fresh `serai dev`; each line it prints is a check. */
const against = async (t: TestContext, directory: Directory, step: Step): Promise<void> => {
  const data = path.join(directory.path, "data");
  const dev = serai(["dev", "--json", "--port", "0", "--admin-port", "0", "--data-dir", data]);
  const line = await ready(dev);
  const client = run(step.command, step.argv, {
    cwd: step.cwd ?? root,
    env: { NOMAD_ADDR: line.url, NOMAD_TOKEN: line.tokens.operator },
  });
  const { code } = await client.ended;
  t.diagnostic(client.stdout());
  assert.equal(code, 0, `${client.stdout()}${client.stderr()}`);
  assert.match(client.stdout(), /^ok /m);
  dev.child.kill("SIGTERM");
  await dev.ended;
  await allGone(directory.path);
};

test("the official Go SDK", { timeout: 2 * patienceMs }, async (t) => {
  using directory = temporaryDirectory();
  const cwd = path.join(import.meta.dirname, "go");
  const binary = path.join(directory.path, "client");
  const steps = [
    { command: "go", argv: ["mod", "download"], cwd },
    { command: "go", argv: ["build", "-o", binary, "."], cwd },
  ];
  if (prepared(t, steps)) await against(t, directory, { command: binary, argv: [] });
});

test("python-nomad", { timeout: 2 * patienceMs }, async (t) => {
  using directory = temporaryDirectory();
  const here = path.join(import.meta.dirname, "python");
  const venv = path.join(directory.path, "venv");
  const python = path.join(venv, "bin/python");
  const steps = [
    { command: "python3", argv: ["-m", "venv", venv] },
    {
      command: python,
      argv: ["-m", "pip", "install", "-q", "-r", path.join(here, "requirements.txt")],
    },
  ];
  if (prepared(t, steps))
    await against(t, directory, { command: python, argv: [path.join(here, "client.py")] });
});
