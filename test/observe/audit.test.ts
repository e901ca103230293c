import assert from "node:assert/strict";
import { renameSync } from "node:fs";
import { test } from "node:test";
import { type AuditSubject, auditMembers, createAudit } from "../../src/observe/audit.ts";
import { linesOf, scratch, soon, until } from "./support.ts";

const requestId = "r1";
const clock = { now: () => 1_700_000_000_000, monotonic: () => performance.now() };

const tally = { bytesIn: 3, bytesOut: 1000, exitCode: 7 };

const subject: AuditSubject = {
  route: "alloc.exec",
  kind: "exec",
  accessor: "accessor-1",
  address: "10.0.0.1",
  allocation: "alloc-1",
  node: "node-1",
  namespace: "default",
  task: "web",
  argv: ["login", "--token", "hunter2"],
};

test("an exec has a start and an end record that say who, what, where and how it ended", async () => {
  using at = scratch();
  const audit = createAudit({ clock, output: at.file("audit") });
  const entry = audit.begin(requestId, auditMembers(subject), tally);
  entry.end({ result: "ok" });
  await audit.close(soon());
  const [start, end, ...rest] = linesOf(at.file("audit"));
  assert.deepEqual(rest, []);
  const said = {
    requestId,
    ...subject,
    time: "2023-11-14T22:13:20.000Z",
    argv: ["login", "--token", "***"],
  };
  assert.deepEqual(start, { audit: "start", ...said });
  const { durationMs, ...others } = end ?? {};
  assert.equal(typeof durationMs, "number");
  assert.deepEqual(others, {
    audit: "end",
    ...said,
    bytesIn: 3,
    bytesOut: 1000,
    exitCode: 7,
    result: "ok",
  });
});

test("a change is written at once, though the process were killed next; a read waits for others", async (t) => {
  using at = scratch();
  t.mock.timers.enable({ apis: ["setTimeout"] }); // what waits for others waits for a timer
  const audit = createAudit({ clock, output: at.file("audit") });
  const written = async (): Promise<void> => {
    const deadline = performance.now() + 10_000;
    while (audit.state.queuedBytes > 0 && performance.now() < deadline)
      await new Promise((resolve) => setImmediate(resolve));
  };
  audit.begin("r0", auditMembers({ ...subject, kind: "read" }), tally);
  await new Promise((resolve) => setImmediate(resolve));
  assert.ok(audit.state.queuedBytes > 0);
  audit.begin(requestId, auditMembers({ ...subject, kind: "change" }), tally);
  await written();
  assert.equal(audit.state.queuedBytes, 0);
  assert.equal(linesOf(at.file("audit")).length, 2);
  t.mock.timers.reset();
  await audit.close(soon());
});

for (const how of ["flush", "close"] as const)
  test(`what lives at a ${how} has ended with a reason, with what was counted until then, once`, async () => {
    using at = scratch();
    const audit = createAudit({ clock, output: at.file("audit") });
    const counted = { ...tally };
    const entry = audit.begin(requestId, auditMembers(subject), counted);
    counted.bytesOut += 5;
    audit.begin("r2", auditMembers(subject), counted).end({ result: "ok" });
    if (how === "flush") audit.flush();
    else await audit.close(soon());
    entry.end({ result: "ok" });
    await audit.close(soon());
    const ends = linesOf(at.file("audit")).filter((line) => line["audit"] === "end");
    assert.deepEqual(
      ends.map((line) => [line["requestId"], line["result"], line["code"], line["bytesOut"]]),
      [
        ["r2", "ok", undefined, 1005],
        [requestId, "failed", "draining", 1005],
      ],
    );
  });

test("a denied one is recorded with its code", async () => {
  using at = scratch();
  const audit = createAudit({ clock, output: at.file("audit") });
  audit.denied(requestId, auditMembers({ ...subject, accessor: undefined }), "permission_denied");
  await audit.close(soon());
  const lines = linesOf(at.file("audit"));
  assert.deepEqual(
    lines.map((line) => line["audit"]),
    ["start", "end"],
  );
  assert.equal(lines[1]?.["result"], "denied");
  assert.equal(lines[1]?.["code"], "permission_denied");
});

test("an event is one record with its facts", async () => {
  using at = scratch();
  const counted: string[] = [];
  const audit = createAudit({
    clock,
    output: at.file("audit"),
    recorded: (one) => counted.push(one),
  });
  audit.event("rival_allocation", { nodeId: "n", allocationId: "a" });
  await audit.close(soon());
  assert.deepEqual(linesOf(at.file("audit")), [
    {
      audit: "event",
      time: "2023-11-14T22:13:20.000Z",
      event: "rival_allocation",
      nodeId: "n",
      allocationId: "a",
    },
  ]);
  assert.deepEqual(counted, ["event"]);
});

test("refusals that anybody can bring about are so many a second, and the rest is told as one", async () => {
  using at = scratch();
  const audit = createAudit({ clock, output: at.file("audit") });
  for (let count = 0; count < 1_000; count++) audit.refusal("join_refused", { nodeId: "n" });
  audit.event("node_joined", { nodeId: "n" });
  await audit.close(soon());
  const lines = linesOf(at.file("audit"));
  const refused = lines.filter(({ event }) => event === "join_refused").length;
  assert.equal(refused, 20);
  assert.ok(lines.some(({ event }) => event === "node_joined"));
  const told = lines.find(({ event }) => event === "suppressed");
  assert.deepEqual([told?.["of"], told?.["count"]], ["join_refused", 1_000 - refused]);
});

test("a second end is ignored", async () => {
  using at = scratch();
  const counted: string[] = [];
  const audit = createAudit({
    clock,
    output: at.file("audit"),
    recorded: (result) => counted.push(result),
  });
  const entry = audit.begin(requestId, auditMembers(subject), tally);
  entry.end({ result: "failed", code: "node_unreachable" });
  entry.end({ result: "ok" });
  await audit.close(soon());
  const lines = linesOf(at.file("audit"));
  assert.equal(lines.length, 2);
  assert.deepEqual(counted, ["started", "failed"]);
});

test("what a caller wrote cannot make a second line, nor a long one", async () => {
  using at = scratch();
  const audit = createAudit({ clock, output: at.file("audit") });
  const path = `/a\n{"audit":"forged"}\u2028${"x".repeat(1e6)}`;
  audit.begin(requestId, auditMembers({ ...subject, path }), tally).end({ result: "ok" });
  await audit.close(soon());
  const lines = linesOf(at.file("audit"));
  assert.equal(lines.length, 2);
  assert.ok(JSON.stringify(lines[0]).length < 4096);
});

test("a rotated file is followed after reopen", async () => {
  using at = scratch();
  const audit = createAudit({ clock, output: at.file("audit") });
  audit.denied(requestId, auditMembers(subject), "permission_denied");
  await until(() => audit.state.queuedBytes === 0, "written");
  renameSync(at.file("audit"), at.file("old"));
  audit.reopen();
  audit.denied(requestId, auditMembers(subject), "permission_denied");
  await audit.close(soon());
  assert.equal(linesOf(at.file("old")).length, 2);
  assert.equal(linesOf(at.file("audit")).length, 2);
});

test("a sink that fails is told by the state and counted, and nothing throws", async () => {
  const counted: string[] = [];
  const audit = createAudit({
    clock,
    output: "/dev/full",
    recorded: (result) => counted.push(result),
  });
  for (let n = 0; n < 20_000; n++)
    audit.denied(requestId, auditMembers(subject), "permission_denied");
  await until(() => audit.state.failing !== undefined, "the failure");
  assert.ok(counted.filter((result) => result === "dropped").length > 1000);
  assert.equal(counted.filter((result) => result === "dropped").length, audit.state.dropped);
  await audit.close(AbortSignal.abort());
});
