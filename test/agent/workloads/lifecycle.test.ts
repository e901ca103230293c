// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the configuration names what Nomad replaces
import assert from "node:assert/strict";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { readStat } from "../../../src/agent/procfs.ts";
import { sendSignal } from "../../../src/agent/signals.ts";
import { bench, eventTypes, first, never, processesOf, task, until, workload } from "./support.ts";

const log = (directory: string, name: string): string =>
  readFileSync(path.join(directory, "alloc", "logs", name), "utf8");

test("a batch that succeeds completes with Nomad's events and keeps its output", async (t) => {
  const workloads = await bench(t).start([
    workload([task("b", "echo done; echo oops >&2")], { type: "batch" }),
  ]);
  const allocation = first(workloads);
  await until("complete", () => allocation.clientStatus === "complete");
  const document = allocation.document();
  assert.equal(document.ClientDescription, "All tasks have completed");
  assert.equal(document.DesiredStatus, "run");
  const state = document.TaskStates?.["b"];
  assert.deepEqual(
    [state?.State, state?.Failed, state?.Restarts, state?.LastRestart],
    ["dead", false, 0, null],
  );
  assert.deepEqual(eventTypes(workloads, "b"), ["Received", "Task Setup", "Started", "Terminated"]);
  const last = state?.Events.at(-1);
  assert.equal(last?.DisplayMessage, "Exit Code: 0");
  assert.deepEqual(last?.Details, { exit_code: "0", signal: "0", oom_killed: "false" });
  assert.equal(log(allocation.directory, "b.stdout.0"), "done\n");
  assert.equal(log(allocation.directory, "b.stderr.0"), "oops\n");
});

test("a task that has ended is not to be run in, though a process that got away holds its output open", async (t) => {
  const leftovers = "setsid env -i /bin/sh -c 'echo away; exec sleep 3' & exec sleep 600";
  const workloads = await bench(t).start([workload([task("web", leftovers)])]);
  const web = first(workloads).task("web");
  await until("running", () => web?.pid !== undefined);
  await until("away", () => log(first(workloads).directory, "web.stdout.0") === "away\n");
  const pid = web?.pid ?? 0;
  process.kill(pid, "SIGKILL");
  await until("gone", () => readStat(pid) === undefined);
  await until("seen", () => web?.pid === undefined);
  assert.equal(web?.state, "running"); // until what it wrote is in its files
});

test("a batch that fails with no attempts left is failed", async (t) => {
  const workloads = await bench(t).start([workload([task("b", "exit 3")], { type: "batch" })]);
  await until("failed", () => first(workloads).clientStatus === "failed");
  const document = first(workloads).document();
  assert.equal(document.ClientDescription, "Failed tasks");
  const events = document.TaskStates?.["b"]?.Events ?? [];
  assert.equal(events.at(-2)?.["ExitCode"], 3);
  assert.deepEqual(
    [events.at(-1)?.Type, events.at(-1)?.DisplayMessage, events.at(-1)?.["FailsTask"]],
    ["Not Restarting", "Policy allows no restarts", true],
  );
});

test("a service restarts on success until its attempts are used up", async (t) => {
  const restart = { attempts: 2, intervalMs: 600_000, delayMs: 1, mode: "fail" } as const;
  const workloads = await bench(t).start([workload([task("web", "echo run")], { restart })]);
  await until("failed", () => first(workloads).clientStatus === "failed");
  const state = first(workloads).document().TaskStates?.["web"];
  assert.equal(state?.Restarts, 2);
  assert.equal(
    state?.Events.at(-1)?.DisplayMessage,
    'Exceeded allowed attempts 2 in interval 10m0s and mode is "fail"',
  );
  assert.equal(log(first(workloads).directory, "web.stdout.0"), "run\nrun\nrun\n");
});

test("a command that does not exist is a driver failure and is not tried again", async (t) => {
  const restart = { attempts: 3, intervalMs: 600_000, delayMs: 1, mode: "fail" } as const;
  const workloads = await bench(t).start([
    workload([task("web", "", { command: "/does/not/exist" })], { restart }),
  ]);
  await until("failed", () => first(workloads).clientStatus === "failed");
  assert.deepEqual(eventTypes(workloads, "web").slice(-2), ["Driver Failure", "Not Restarting"]);
  assert.equal(first(workloads).task("web")?.started, false);
});

test("a directory that bears the command's name is not taken for it", async (t) => {
  const web = task("web", "mkdir -p local/sh; echo up; exec sleep 600", { command: "sh" });
  const workloads = await bench(t).start([workload([web])]);
  const allocation = first(workloads);
  const ups = () =>
    allocation.task("web")?.started === true ? log(allocation.directory, "web.stdout.0") : "";
  await until("up", () => ups() === "up\n");
  await allocation.restart({ taskName: "web", allTasks: false });
  await until("up again", () => ups() === "up\nup\n");
});

test("prestart ends before main starts, poststart follows, poststop comes last", async (t) => {
  const note = (word: string) => `echo ${word} >> $NOMAD_ALLOC_DIR/data/order`;
  const hook = (name: "prestart" | "poststart" | "poststop") => ({
    lifecycle: { hook: name, sidecar: false },
  });
  const workloads = await bench(t).start([
    workload(
      [
        task(
          "main",
          `${note("main")}; while [ ! -e $NOMAD_ALLOC_DIR/data/go ]; do sleep 0.02; done`,
        ),
        task("last", note("poststop"), hook("poststop")),
        task("after", `${note("poststart")}; touch $NOMAD_ALLOC_DIR/data/go`, hook("poststart")),
        task("before", `sleep 0.1; ${note("prestart")}`, hook("prestart")),
      ],
      { type: "batch" },
    ),
  ]);
  const allocation = first(workloads);
  await until("complete", () => allocation.clientStatus === "complete");
  const order = readFileSync(path.join(allocation.directory, "alloc/data/order"), "utf8");
  assert.equal(order, "prestart\nmain\npoststart\npoststop\n");
});

test("sidecars end when the mains have ended", async (t) => {
  const sidecar = { lifecycle: { hook: "prestart", sidecar: true } } as const;
  const workloads = await bench(t).start([
    workload([task("main", "true"), task("side", "exec sleep 600", sidecar)], { type: "batch" }),
  ]);
  await until("complete", () => first(workloads).clientStatus === "complete");
  assert.deepEqual(eventTypes(workloads, "side").slice(-4), [
    "Main Tasks Dead",
    "Killing",
    "Terminated",
    "Killed",
  ]);
});

test("a leader's end and a sibling's failure end the others", async (t) => {
  const workloads = await bench(t).start([
    workload([task("boss", "true", { leader: true }), task("other", "exec sleep 600")], {
      type: "batch",
      job: "a",
    }),
    workload([task("bad", "exit 1"), task("good", "exec sleep 600")], { type: "batch", job: "b" }),
  ]);
  const [led, broken] = workloads.allocations;
  await until("complete", () => led?.clientStatus === "complete");
  const types = (name: string, of = led) =>
    of?.document().TaskStates?.[name]?.Events.map((event) => event.Type) ?? [];
  assert.ok(types("other").includes("Leader Task Dead"));
  await until("good is dead", () => broken?.task("good")?.state === "dead");
  assert.equal(broken?.clientStatus, "failed");
  const sibling = broken
    ?.document()
    .TaskStates?.["good"]?.Events.find((event) => event.Type === "Sibling Task Failed");
  assert.equal(sibling?.DisplayMessage, `Task's sibling "bad" failed`);
});

test("stop ends the group, kills what ignores it, and leaves no process", async (t) => {
  const place = bench(t);
  const stubborn =
    "trap '' INT TERM; setsid sleep 600 & sleep 600 & echo up; while true; do sleep 0.05; done";
  const workloads = await place.start([workload([task("web", stubborn, { killTimeoutMs: 200 })])]);
  const allocation = first(workloads);
  const out = path.join(allocation.directory, "alloc/logs/web.stdout.0");
  await until("up", () => allocation.task("web")?.started === true && statSync(out).size > 0);
  assert.ok(processesOf(place.dataDirectory).length >= 3);
  await allocation.stop();
  assert.deepEqual(processesOf(place.dataDirectory), []);
  const document = allocation.document();
  assert.deepEqual(
    [document.DesiredStatus, document.ClientStatus, document.Job["Stop"]],
    ["stop", "complete", true],
  );
  const events = document.TaskStates?.["web"]?.Events ?? [];
  assert.deepEqual(
    events.slice(-3).map((event) => event.Type),
    ["Killing", "Terminated", "Killed"],
  );
  assert.equal(events.at(-3)?.DisplayMessage, "Sent interrupt. Waiting 200ms before force killing");
  assert.equal(events.at(-2)?.DisplayMessage, "Exit Code: 137, Signal: 9");
});

test("a process that left the task and goes on writing to its output does not hold it", async (t) => {
  const workloads = await bench(t).start([
    workload(
      [task("b", "env -i setsid sh -c 'echo $$; while echo on; do sleep 0.1; done' & sleep 0.3")],
      { type: "batch" },
    ),
  ]);
  const { directory } = first(workloads);
  const written = () =>
    first(workloads).task("b")?.started === true ? log(directory, "b.stdout.0") : "";
  await until("it writes", () => written().includes("on"));
  const pid = Number.parseInt(written(), 10);
  t.after(() => sendSignal(pid, "SIGKILL"));
  await until("complete", () => first(workloads).clientStatus === "complete");
});

test("the environment names the allocation and references in the configuration are replaced", async (t) => {
  const ports = [{ label: "http", static: undefined }];
  const script = 'env; echo "$0 $1"; pwd';
  const web = task("web", script, {
    args: ["-c", script, "${NOMAD_JOB_NAME}", "${GREETING}-${unknown}"],
    env: { GREETING: "hi ${NOMAD_TASK_NAME}", NOMAD_ALLOC_ID: "forged" },
    meta: { "my-key": "v" },
  });
  const workloads = await bench(t).start([workload([web], { type: "batch", ports })]);
  const allocation = first(workloads);
  await until("complete", () => allocation.clientStatus === "complete");
  const lines = log(allocation.directory, "web.stdout.0").split("\n");
  const port = /\d+/.exec(lines.find((line) => line.startsWith("NOMAD_PORT_http=")) ?? "")?.[0];
  for (const line of [
    `NOMAD_ALLOC_ID=${allocation.id}`,
    `SERAI_ALLOC_ID=${allocation.id}`,
    "NOMAD_ALLOC_NAME=web.g[0]",
    `NOMAD_ALLOC_DIR=${allocation.directory}/alloc`,
    `NOMAD_SECRETS_DIR=${allocation.directory}/web/secrets`,
    `NOMAD_ADDR_http=127.0.0.1:${port}`,
    "NOMAD_META_MY_KEY=v",
    "GREETING=hi web",
    "web hi web-${unknown}",
    `${allocation.directory}/web`,
  ])
    assert.ok(lines.includes(line), line);
  const mode = (name: string) => statSync(path.join(allocation.directory, name)).mode & 0o7777;
  assert.deepEqual(
    ["alloc", "alloc/data", "alloc/tmp", "web", "web/secrets", "web/private", "web/tmp"].map(mode),
    [0o777, 0o777, 0o1777, 0o777, 0o700, 0o700, 0o1777],
  );
});

test("changes raise the index and wake who waits", async (t) => {
  const workloads = await bench(t).start([workload([task("web", "exec sleep 600")])]);
  const allocation = first(workloads);
  await until("running", () => allocation.clientStatus === "running");
  const before = workloads.index;
  assert.ok(allocation.document().ModifyIndex <= before);
  const woken = workloads.changed(before, never);
  await allocation.signal("SIGCONT", "web");
  await woken;
  assert.ok(workloads.index > before);
  assert.ok(allocation.document().ModifyIndex > before);
  const patience = new AbortController();
  const waiting = workloads.changed(workloads.index + 1_000, patience.signal);
  patience.abort();
  await waiting;
});

test("restart and signal answer with Nomad's words", async (t) => {
  const script =
    "trap 'echo got HUP' HUP; trap 'echo got INT; exit 0' INT; echo up; while true; do sleep 0.02; done";
  const workloads = await bench(t).start([
    workload([
      task("init", "true", { lifecycle: { hook: "prestart", sidecar: false } }),
      task("web", script),
      task("later", "true", { lifecycle: { hook: "poststop", sidecar: false } }),
    ]),
  ]);
  const allocation = first(workloads);
  const out = () => log(allocation.directory, "web.stdout.0");
  await until("up", () => allocation.task("web")?.state === "running" && out() === "up\n");
  const refused = (act: Promise<void>, words: string) =>
    assert.rejects(act, (error: Error) => error.message === words);
  await refused(
    allocation.restart({ taskName: "web", allTasks: true }),
    "task name cannot be set when restarting all tasks",
  );
  await refused(
    allocation.restart({ taskName: "nope", allTasks: false }),
    "Could not find task runner for task: nope",
  );
  await refused(allocation.restart({ taskName: "init", allTasks: false }), "Task not running");
  await refused(allocation.restart({ taskName: "later", allTasks: false }), "Task not running");
  await refused(allocation.signal("SIGHUP", "nope"), "Task not found");
  await refused(allocation.signal("SIGHUP", "later"), "Task not running");
  await refused(
    allocation.signal("SIGHUP", ""),
    "2 errors occurred:\n\t* Failed to signal task: init, err: Task not running\n\t* Failed to signal task: later, err: Task not running\n\n",
  );
  await until("the signal came", () => out() === "up\ngot HUP\n");
  const before = allocation.task("web")?.pid;
  await allocation.restart({ taskName: "web", allTasks: false });
  await until("up again", () => out() === "up\ngot HUP\ngot INT\nup\n");
  assert.notEqual(allocation.task("web")?.pid, before);
  assert.deepEqual(eventTypes(workloads, "web").slice(-4), [
    "Restart Signaled",
    "Terminated",
    "Restarting",
    "Started",
  ]);
  await allocation.restart({ taskName: "", allTasks: true });
  await until("all again", () => out().endsWith("got INT\nup\n") && out().length > 30);
  assert.equal(allocation.document().TaskStates?.["init"]?.Restarts, 1);
  assert.equal(allocation.document().TaskStates?.["web"]?.Restarts, 2);
  // A name that is no signal is SIGINT, as raw_exec has it.
  await allocation.signal("nonsense", "web");
  await until("it ended", () => allocation.clientStatus === "failed");
  await refused(
    allocation.restart({ taskName: "", allTasks: false }),
    "restart of an alloc that should not run",
  );
  await refused(allocation.signal("SIGHUP", "web"), "Task not running");
});

test("a restart of all tasks keeps their order: what follows the mains waits for them anew", async (t) => {
  const lifecycle = (hook: "prestart" | "poststart", sidecar: boolean) => ({
    lifecycle: { hook, sidecar },
  });
  const told = (name: string) => `echo ${name} >> $NOMAD_ALLOC_DIR/data/order`;
  const lingers = (name: string) =>
    `trap 'sleep 0.5; ${told(`${name}-ended`)}; exit' INT; ${told(name)}; while :; do sleep 0.05; done`;
  const workloads = await bench(t).start([
    workload([
      task("proxy", lingers("proxy"), lifecycle("prestart", true)),
      task("web", lingers("web")),
      task("hook", told("hook"), lifecycle("poststart", false)),
      task("watch", `${told("watch")}; exec sleep 600`, lifecycle("poststart", true)),
    ]),
  ]);
  const allocation = first(workloads);
  const order = () => {
    const lines = readFileSync(path.join(allocation.directory, "alloc/data/order"), "utf8");
    return lines.trim().split("\n");
  };
  await until("hook ended", () => allocation.task("hook")?.state === "dead");
  await until("all told", () => order().length === 4);
  await allocation.restart({ taskName: "", allTasks: true });
  await until("all told anew", () => order().length === 10);
  const anew = order().slice(4);
  const web = anew.indexOf("web");
  assert.ok(anew.indexOf("proxy") < web, String(anew));
  assert.ok(anew.indexOf("web-ended") < web, String(anew));
  assert.ok(anew.indexOf("hook") > web, String(anew));
  assert.ok(anew.indexOf("watch") > web, String(anew));
});

test("what has ended can be collected once, what runs cannot", async (t) => {
  const workloads = await bench(t).start([
    workload([task("b", "true")], { type: "batch", job: "done" }),
    workload([task("web", "exec sleep 600")], { job: "runs" }),
  ]);
  const [done, runs] = workloads.allocations;
  assert.ok(done && runs);
  const words = { message: "No such allocation on client, or allocation not eligible for GC" };
  await until("done", () => done.clientStatus === "complete");
  await assert.rejects(runs.collect(), words);
  await done.collect();
  assert.throws(() => statSync(done.directory), { code: "ENOENT" });
  assert.equal(done.collected, true);
  assert.equal(workloads.allocation(done.id)?.document().ClientStatus, "complete");
  await assert.rejects(done.collect(), words);
  await assert.rejects(done.signal("SIGHUP", "b"), { message: "Task not running" });
});

test("allocations beyond the limit are collected, the oldest first", async (t) => {
  const workloads = await bench(t).start(
    [workload([task("b", "sleep 0.$((NOMAD_ALLOC_INDEX * 2))")], { type: "batch", count: 3 })],
    { gcMaxAllocs: 2 },
  );
  await until("one is collected", () => workloads.allocations.some(({ collected }) => collected));
  await until("all ended", () =>
    workloads.allocations.every(({ clientStatus }) => clientStatus === "complete"),
  );
  assert.equal(workloads.allocations.filter(({ collected }) => collected).length, 1);
  await workloads.collectAll();
  await until("all collected", () => workloads.allocations.every(({ collected }) => collected));
});

test("a task that fills its own log directory with traps does not stop the agent", async (t) => {
  const workloads = await bench(t).start([
    workload(
      [
        task("web", "echo one; while [ ! -e go ]; do sleep 0.02; done; seq 200000; echo end", {
          logs: { maxFiles: 3, maxFileSizeMb: 1, disabled: false },
        }),
      ],
      { type: "batch" },
    ),
  ]);
  const allocation = first(workloads);
  await until("running", () => allocation.task("web")?.state === "running");
  const logs = path.join(allocation.directory, "alloc/logs");
  const victim = path.join(allocation.directory, "victim");
  writeFileSync(victim, "untouched");
  const { symlinkSync, mkdirSync } = await import("node:fs");
  symlinkSync(victim, path.join(logs, "web.stdout.1"));
  mkdirSync(path.join(logs, "web.stdout.2"));
  writeFileSync(path.join(allocation.directory, "web/go"), "");
  await until("complete", () => allocation.clientStatus === "complete");
  assert.equal(readFileSync(victim, "utf8"), "untouched");
  const text =
    log(allocation.directory, "web.stdout.0") + log(allocation.directory, "web.stdout.1");
  const expected = `one\n${Array.from({ length: 200_000 }, (_, i) => `${i + 1}\n`).join("")}end\n`;
  assert.equal(text === expected, true, "output lost or mixed up at the rotation");
});
