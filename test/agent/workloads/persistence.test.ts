import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { test } from "node:test";
import type { Workloads } from "../../../src/agent/ports.ts";
import { createStateFile } from "../../../src/agent/workloads/state-file.ts";
import {
  bench,
  first,
  never,
  node,
  processesOf,
  recordingLog,
  task,
  until,
  workload,
} from "./support.ts";

const port = [{ label: "http", static: undefined }];

test("allocations keep ids, ports, indexes and what has ended over a restart of the agent", async (t) => {
  const place = bench(t);
  const configuration = [
    workload([task("web", "echo up; exec sleep 600")], { ports: port }),
    workload([task("b", "echo ran")], { type: "batch", job: "batch" }),
    workload([task("s", "exec sleep 600")], { type: "batch", job: "stopped" }),
  ];
  const before = await place.start(configuration);
  const [web, batch, stopped] = before.allocations;
  assert.ok(web && batch && stopped);
  await until("web runs", () => web.clientStatus === "running");
  await until("batch ends", () => batch.clientStatus === "complete");
  await stopped.stop();
  const document = web.document();
  const index = before.index;
  await before.close(never);
  assert.deepEqual(processesOf(place.dataDirectory), []);
  assert.equal(statSync(path.join(place.dataDirectory, "state.json")).mode & 0o777, 0o600);

  const after = await place.start(configuration);
  assert.deepEqual(
    after.allocations.map(({ id }) => id),
    [web.id, batch.id, stopped.id],
  );
  assert.ok(after.index > index);
  const [webNow, batchNow, stoppedNow] = after.allocations;
  await until("web runs again", () => webNow?.clientStatus === "running");
  const now = webNow?.document();
  for (const field of ["EvalID", "CreateIndex", "CreateTime", "AllocatedResources"])
    assert.deepEqual(now?.[field], document[field], field);
  const out = path.join(web.directory, "alloc/logs/web.stdout.0");
  await until("its log goes on", () => readFileSync(out, "utf8") === "up\nup\n");
  assert.equal(batchNow?.clientStatus, "complete");
  assert.equal(batchNow?.task("b")?.started, true);
  assert.equal(readFileSync(path.join(batch.directory, "alloc/logs/b.stdout.0"), "utf8"), "ran\n");
  assert.equal(stoppedNow?.document().DesiredStatus, "stop");
  assert.equal(stoppedNow?.task("s")?.state, "dead");
});

test("a dynamic port that the configuration has since given away is not kept", async (t) => {
  const place = bench(t);
  const web = workload([task("web", "exec sleep 600")], { ports: port });
  const portOf = ({ allocations }: Workloads, at: number) =>
    Number(allocations[at]?.task("web")?.env["NOMAD_PORT_http"]);
  const before = await place.start([web]);
  const taken = portOf(before, 0);
  await before.close(never);
  const fixed = workload([task("web", "exec sleep 600")], {
    job: "fixed",
    ports: [{ label: "http", static: taken }],
  });
  const after = await place.start([web, fixed]);
  assert.equal(portOf(after, 1), taken);
  assert.notEqual(portOf(after, 0), taken);
});

test("poststop tasks run when the agent ends, and a finished prestart is not run again", async (t) => {
  const place = bench(t);
  const hook = (name: "prestart" | "poststop") => ({ lifecycle: { hook: name, sidecar: false } });
  const configuration = [
    workload([
      task("init", "echo init", hook("prestart")),
      task("web", "exec sleep 600"),
      task("bye", "echo bye", hook("poststop")),
    ]),
  ];
  const before = await place.start(configuration);
  const logs = path.join(first(before).directory, "alloc/logs");
  await until("running", () => first(before).task("web")?.state === "running");
  await before.close(never);
  assert.equal(readFileSync(path.join(logs, "bye.stdout.0"), "utf8"), "bye\n");
  const after = await place.start(configuration);
  await until("running again", () => first(after).task("web")?.state === "running");
  assert.equal(first(after).task("bye")?.state, "pending");
  await first(after).stop();
  assert.equal(readFileSync(path.join(logs, "bye.stdout.0"), "utf8"), "bye\nbye\n");
  assert.equal(readFileSync(path.join(logs, "init.stdout.0"), "utf8"), "init\n");
});

test("when patience ends, tasks that ignore their signal are killed at once", async (t) => {
  const place = bench(t);
  const workloads = await place.start([
    workload([
      task("web", "trap '' INT; echo up; while true; do sleep 1; done", { killTimeoutMs: 600_000 }),
    ]),
  ]);
  const out = path.join(first(workloads).directory, "alloc/logs/web.stdout.0");
  await until("up", () => first(workloads).task("web")?.started === true && statSync(out).size > 0);
  const patience = new AbortController();
  const closing = workloads.close(patience.signal);
  patience.abort();
  await closing;
  assert.deepEqual(processesOf(place.dataDirectory), []);
});

test("a state that could not be saved is saved when the disk takes it, though nothing changes", async (t) => {
  const { dataDirectory } = bench(t);
  const file = path.join(dataDirectory, "state.json");
  const log = recordingLog();
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const state = createStateFile(log, dataDirectory, () => ({ index: 7, allocations: [] }));
  const turnsUntil = async (fact: () => boolean): Promise<void> => {
    for (const deadline = Date.now() + 15_000; !fact(); await new Promise(setImmediate))
      assert.ok(Date.now() < deadline);
  };
  const blocks = `${file}.new`; // stands where it is to be written
  mkdirSync(blocks);
  state.soon();
  t.mock.timers.tick(50);
  await turnsUntil(() => log.lines.includes("the state cannot be saved"));
  await assert.rejects(state.save(), { code: "EISDIR" });
  rmdirSync(blocks);
  t.mock.timers.tick(10_000);
  await turnsUntil(() => existsSync(file));
  assert.equal(JSON.parse(readFileSync(file, "utf8")).index, 7);
  state.close();
});

test("a state file that is not sound is moved aside with a log line", async (t) => {
  const place = bench(t);
  writeFileSync(
    path.join(place.dataDirectory, "state.json"),
    '{"index":1,"allocations":[{"id":"../../x"}]}',
  );
  const log = recordingLog();
  const workloads = await place.start([workload([task("web", "exec sleep 600")])], { log });
  assert.equal(workloads.allocations.length, 1);
  assert.ok(log.lines.includes("the state file is not sound and was moved aside"));
  const aside = readdirSync(place.dataDirectory).filter((name) =>
    name.startsWith("state.json.corrupt-"),
  );
  assert.equal(aside.length, 1);
});

test("an allocation whose workload left the configuration ends, is listed until collected, then forgotten", async (t) => {
  const place = bench(t);
  const before = await place.start([workload([task("web", "exec sleep 600")], { count: 2 })]);
  const gone = before.allocations[1];
  assert.ok(gone);
  await until("running", () => gone.clientStatus === "running");
  await before.close(never);
  const smaller = [workload([task("web", "exec sleep 600")])];
  const after = await place.start(smaller);
  const ended = after.allocation(gone.id);
  assert.equal(ended?.document().DesiredStatus, "stop");
  assert.equal(ended?.clientStatus, "complete");
  await ended?.collect();
  await after.close(never);
  const last = await place.start(smaller);
  assert.deepEqual(
    last.allocations.map(({ id }) => id),
    [first(before).id],
  );
});

test("a workload that is back in the configuration runs again, what was finished or stopped does not", async (t) => {
  const place = bench(t);
  const configuration = [
    workload([task("web", "exec sleep 600")]),
    workload([task("web", "exec sleep 600")], { job: "batch", type: "batch" }),
    workload([task("web", "true")], { job: "finished", type: "batch" }),
    workload([task("web", "exec sleep 600")], { job: "stopped" }),
  ];
  const statuses = ({ allocations }: Workloads) =>
    allocations.map(({ clientStatus }) => clientStatus).join();
  const asWanted = "running,running,complete,complete";
  const before = await place.start(configuration);
  await until("running", () => statuses(before) === "running,running,complete,running");
  await before.allocations[3]?.stop();
  await before.close(never);
  const without = await place.start([]);
  assert.equal(statuses(without), "complete,complete,complete,complete");
  await first(without).collect();
  await without.close(never);
  const back = await place.start(configuration);
  await until("running again", () => statuses(back) === asWanted);
  const { DesiredStatus, TaskStates } = first(back).document();
  assert.deepEqual([DesiredStatus, TaskStates?.["web"]?.FinishedAt], ["run", null]);
  await back.close(never);
  const last = await place.start(configuration);
  await until("still running", () => statuses(last) === asWanted);
});

const agentProgram = `
import { createWorkloads } from ${JSON.stringify(new URL("../../../src/agent/workloads/workloads.ts", import.meta.url).href)};
const { dataDirectory, node, workloads } = JSON.parse(process.argv[1]);
const log = { debug() {}, info() {}, warn() {}, error() {} };
const clock = { now: () => Date.now(), monotonic: () => performance.now() };
const running = await createWorkloads({ log, clock }, { dataDirectory, node, workloads, gcMaxAllocs: 50 });
const timer = setInterval(() => {
  if (!running.allocations.every(({ clientStatus }) => clientStatus === "running")) return;
  clearInterval(timer);
  console.log("running");
}, 10);
setInterval(() => {}, 1000);
`;

test("processes that an agent killed with SIGKILL left behind are ended before anything starts", async (t) => {
  const place = bench(t);
  const script =
    "trap '' INT TERM; setsid sleep 600 & sleep 600 & echo $$ >> $NOMAD_ALLOC_DIR/data/pids; while true; do sleep 0.1; done";
  const configuration = [workload([task("web", script)])];
  const argument = JSON.stringify({
    dataDirectory: place.dataDirectory,
    node,
    workloads: configuration,
  });
  const agent = spawn(process.execPath, ["--input-type=module", "-e", agentProgram, argument], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(agent, "exit");
  await once(agent.stdout, "data");
  await until("three processes", () => processesOf(place.dataDirectory).length >= 3);
  agent.kill("SIGKILL");
  await exited;
  const orphans = processesOf(place.dataDirectory);
  assert.ok(orphans.length >= 3);
  const log = recordingLog();
  const workloads = await place.start(configuration, { log });
  const now = processesOf(place.dataDirectory);
  assert.deepEqual(
    orphans.filter((pid) => now.includes(pid)),
    [],
  );
  assert.ok(log.lines.includes("ending processes an earlier agent left behind"));
  await until("running", () => first(workloads).clientStatus === "running");
  const pids = path.join(first(workloads).directory, "alloc/data/pids");
  await until(
    "the same allocation ran twice",
    () => readFileSync(pids, "utf8").split("\n").length === 3,
  );
});

test("a stop that the agent's end cut short is still a stop at the next start", async (t) => {
  const place = bench(t);
  const configuration = [
    workload([
      task("web", "trap '' INT; echo up; while true; do sleep 0.1; done", {
        killTimeoutMs: 600_000,
      }),
    ]),
  ];
  const before = await place.start(configuration);
  const out = path.join(first(before).directory, "alloc/logs/web.stdout.0");
  await until("up", () => first(before).task("web")?.started === true && statSync(out).size > 0);
  const stopped = first(before).stop();
  await before.close(AbortSignal.abort());
  await stopped;
  const after = await place.start(configuration);
  assert.equal(first(after).clientStatus, "complete");
  assert.equal(first(after).document().DesiredStatus, "stop");
  assert.deepEqual(processesOf(place.dataDirectory), []);
});
