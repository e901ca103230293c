import assert from "node:assert/strict";
import { test } from "node:test";
import { goDuration, restarting } from "../../../src/agent/workloads/events.ts";
import { createRestartTracker } from "../../../src/agent/workloads/restarts.ts";
import { task, workload } from "./support.ts";

const ended = (exitCode: number) => ({ kind: "exited", exitCode, signal: 0 }) as const;
const policy = (mode: "fail" | "delay") => ({
  restart: { attempts: 1, intervalMs: 10_000, delayMs: 1_000, mode },
});
const noJitter = () => 0;

test("attempts count within an interval and begin anew after it", () => {
  const tracker = createRestartTracker(workload([], policy("fail")), task("a", ""), noJitter);
  assert.equal(tracker.judge(ended(1), 0).kind, "restart");
  assert.equal(tracker.judge(ended(1), 10_001).kind, "restart");
  assert.deepEqual(tracker.judge(ended(1), 10_002), {
    kind: "failed",
    reason: 'Exceeded allowed attempts 1 in interval 10s and mode is "fail"',
  });
});

test("mode delay waits for the interval's end", () => {
  const tracker = createRestartTracker(workload([], policy("delay")), task("a", ""), noJitter);
  assert.deepEqual(tracker.judge(ended(1), 0), {
    kind: "restart",
    delayMs: 1_000,
    reason: "Restart within policy",
  });
  assert.deepEqual(tracker.judge(ended(1), 4_000), {
    kind: "restart",
    delayMs: 6_000,
    reason: "Exceeded allowed attempts, applying a delay",
  });
});

test("success ends batch tasks, hooks without sidecar, and poststop; sidecars and services go on", () => {
  const kind = (type: "service" | "batch", lifecycle: Parameters<typeof task>[2]) =>
    createRestartTracker(
      workload([], { type, ...policy("fail") }),
      task("a", "", lifecycle),
      noJitter,
    ).judge(ended(0), 0).kind;
  assert.equal(kind("service", {}), "restart");
  assert.equal(kind("batch", {}), "done");
  assert.equal(kind("service", { lifecycle: { hook: "prestart", sidecar: false } }), "done");
  assert.equal(kind("batch", { lifecycle: { hook: "poststart", sidecar: true } }), "restart");
  assert.equal(kind("service", { lifecycle: { hook: "poststop", sidecar: true } }), "done");
});

test("delays are spread by up to a quarter", () => {
  const tracker = createRestartTracker(workload([], policy("fail")), task("a", ""), () => 0.999);
  const verdict = tracker.judge(ended(1), 0);
  assert.equal(verdict.kind === "restart" && verdict.delayMs, 1_249);
});

test("durations and restart events read as Go writes them", () => {
  const words = [0, 250, 1_500, 90_000, 86_400_000].map(goDuration);
  assert.deepEqual(words, ["0s", "250ms", "1.5s", "1m30s", "24h0m0s"]);
  assert.equal(restarting(1_249, "Restart within policy").display, "Task restarting in 1.249s");
  assert.equal(
    restarting(6_000, "Exceeded allowed attempts, applying a delay").display,
    "Exceeded allowed attempts, applying a delay - Task restarting in 6s",
  );
  assert.deepEqual(restarting(0, "").details, { restart_reason: "", start_delay: "0" });
});
