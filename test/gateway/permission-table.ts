/**
 * The permission table as data: for every row of the route table a request that does its thing harmlessly, and for every
 * rule the callers that must be let in and those that must not. Shared by the gateway's and the agents' own door.
 */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import path from "node:path";
import { WebSocket } from "ws";
import { namespaceFamily } from "../../src/acl/capabilities.ts";
import { isJsonObject, type Json, parseJson } from "../../src/lib/json.ts";
import { type Route, type Rule, routes } from "../../src/routes.ts";
import { type Reply, type Rig, type RigToken, startRig } from "../support/rig.ts";

/* ---- policies and tokens, derived from the rules ---- */

const everyCapability = [...namespaceFamily.capabilities].filter((name) => name !== "deny");
const inNamespace = (namespace: string, capabilities: readonly string[]): object => ({
  namespace: [{ [namespace]: { capabilities } }],
});
const but = (...without: readonly string[]): readonly string[] =>
  everyCapability.filter((name) => !without.includes(name));
const wholeNode = { node: { policy: "write" } };
const wholeAgent = { agent: { policy: "write" } };

export const ruleLabel = (rule: Rule): string => {
  if (rule.on === "namespace") return rule.anyOf.join("-or-");
  return "level" in rule ? `${rule.on}-${rule.level}` : rule.on;
};

const allBut = (rule: Rule): object => {
  if (rule.on === "namespace")
    return { ...inNamespace("default", but(...rule.anyOf)), ...wholeNode, ...wholeAgent };
  if (rule.on === "node") {
    const read = rule.level === "write" ? { node: { policy: "read" } } : {};
    return { ...inNamespace("*", everyCapability), ...read, ...wholeAgent };
  }
  return { ...inNamespace("*", everyCapability), ...wholeNode };
};

const rules = routes.map(({ rule }) => rule);
const needed = [
  ...new Set(rules.flatMap((rule) => (rule.on === "namespace" ? [...rule.anyOf] : []))),
  "alloc-node-exec",
];
const ruled = rules.filter(({ on }) => on === "namespace" || on === "node" || on === "agent");

export const policies: Readonly<Record<string, unknown>> = {
  ...Object.fromEntries(needed.map((name) => [`only-${name}`, inNamespace("default", [name])])),
  ...Object.fromEntries(ruled.map((rule) => [`but-${ruleLabel(rule)}`, allBut(rule)])),
  "only-exec-both": inNamespace("default", ["alloc-exec", "alloc-node-exec"]),
  "only-node-read": { node: { policy: "read" } },
  "only-node-write": { node: { policy: "write" } },
  "only-agent-read": { agent: { policy: "read" } },
  "only-agent-write": { agent: { policy: "write" } },
  elsewhere: inNamespace("elsewhere", everyCapability),
};

const tokens = (): Readonly<Record<string, RigToken>> => ({
  ...Object.fromEntries(Object.keys(policies).map((name) => [name, { policies: [name] }])),
  nothing: {},
  expired: { management: true, expiresAtMs: Date.now() - 60_000 },
  revoked: { management: true },
});

/* ---- callers ---- */

/** Credentials that nobody may come in with, whatever is asked. */
export const badCredentials = ["expired", "revoked", "no UUID", "nobody's UUID", "no JWT"] as const;

const forged = [
  Buffer.from('{"alg":"none"}').toString("base64url"),
  Buffer.from('{"iss":"https://nobody","sub":"root"}').toString("base64url"),
  "",
].join(".");

const spelled: Readonly<Record<string, string | undefined>> = {
  anonymous: undefined,
  "no UUID": "let-me-in",
  "nobody's UUID": randomUUID(),
  "no JWT": forged,
};

export const secretOf = (rig: Rig, caller: string): string | undefined =>
  caller in spelled ? spelled[caller] : rig.secret(caller);

export type Verdict = "allowed" | "refused";
export type Expected = Readonly<Record<string, Verdict>>;

const verdicts = (callers: readonly string[], verdict: Verdict): Expected =>
  Object.fromEntries(callers.map((caller) => [caller, verdict]));

const strangers = ["nothing", "elsewhere", "anonymous", ...badCredentials];

const levels = ["read", "write"] as const;

/** Who may pass a rule. Rows that decide by themselves have their own table. */
export const callersOf = (route: Route): Expected => {
  const { rule } = route;
  const all = { management: "allowed", ...verdicts(strangers, "refused") } as const;
  if (route.name === "alloc.exec")
    return {
      ...all,
      "only-alloc-exec": "refused",
      "only-alloc-node-exec": "refused",
      "only-exec-both": "allowed",
      "but-alloc-exec": "refused",
    };
  switch (rule.on) {
    case "namespace":
      return {
        ...all,
        ...verdicts(
          rule.anyOf.map((name) => `only-${name}`),
          "allowed",
        ),
        [`but-${ruleLabel(rule)}`]: "refused",
      };
    case "node":
    case "agent": {
      const allowed = levels.filter((level) => rule.level === "read" || level === "write");
      const refused = levels.filter((level) => !allowed.includes(level));
      return {
        ...all,
        ...verdicts(
          allowed.map((level) => `only-${rule.on}-${level}`),
          "allowed",
        ),
        ...verdicts(
          refused.map((level) => `only-${rule.on}-${level}`),
          "refused",
        ),
        [`but-${ruleLabel(rule)}`]: "refused",
      };
    }
    case "nobody":
      return verdicts(["management", ...strangers], "allowed");
    case "answer":
      return {};
  }
};

/* ---- the world they act in ---- */

const sleeper = (name: string) => ({
  name,
  command: "/bin/sh",
  args: ["-c", "echo begun; exec sleep 1000"],
  kill_timeout: "1s",
});
const shortOne = { name: "t", command: "/bin/sh", args: ["-c", "echo done"] };

export interface World extends AsyncDisposable {
  readonly rig: Rig;
  /** An allocation of a job that nobody has acted on yet. */
  take(job: string): string;
  /** The one of a job that nobody may act on. */
  victim(job: string): string;
  /** Everything that refused callers aimed at is as it was. */
  unharmed(): Promise<void>;
}

/** More than there are allowed callers of any row, and the victim. */
const poolSize = 5;

export const startWorld = async (): Promise<World> => {
  const rig = await startRig({
    policies,
    tokens: tokens(),
    agents: [
      {
        workloads: [
          { job: "web", group: "g", tasks: [sleeper("t")] },
          { job: "restarted", group: "g", count: 2, tasks: [sleeper("t")] },
          { job: "stopped", group: "g", count: poolSize, tasks: [sleeper("t")] },
          { job: "done", type: "batch", group: "g", count: poolSize, tasks: [shortOne] },
        ],
      },
      { workloads: [{ job: "far", namespace: "elsewhere", group: "g", tasks: [sleeper("t")] }] },
    ],
  });
  try {
    rig.revoke("revoked");
    await rig.gateway.reload();
    await rig.until("done", "complete");
  } catch (error) {
    await rig[Symbol.asyncDispose]();
    throw error;
  }
  const pools = new Map(
    ["restarted", "stopped", "done"].map((job) => [
      job,
      rig.allocationsOf(job).map(({ ID }) => ID),
    ]),
  );
  const poolOf = (job: string): string[] => {
    const pool = pools.get(job);
    assert.ok(pool, `no pool of ${job}`);
    return pool;
  };
  return {
    rig,
    take: (job) => {
      const pool = poolOf(job);
      const taken = pool.length > 1 ? pool.pop() : undefined;
      assert.ok(taken, `${job} has too few allocations`);
      return taken;
    },
    victim: (job) => poolOf(job)[0] ?? "",
    async unharmed() {
      for (const job of ["web", "restarted", "stopped"]) {
        const id = job === "web" ? rig.allocation(job) : (poolOf(job)[0] ?? "");
        const document = rig.gateway.registry.allocation(id);
        assert.equal(document?.ClientStatus, "running", job);
        assert.equal(document.TaskStates?.["t"]?.Restarts, 0, job);
      }
      const files = await rig.get(
        `/v1/client/fs/ls/${poolOf("done")[0]}`,
        rig.secret("management"),
      );
      assert.equal(files.status, 200, "the finished allocation was not collected");
      assert.ok(!existsSync(markerOf(rig)), "no refused command was run");
    },
    [Symbol.asyncDispose]: () => rig[Symbol.asyncDispose](),
  };
};

/* ---- a request for every row ---- */

export interface Case {
  /** The id in the path (or of the node): of what an allowed caller may act on, and of what a refused one aims at. */
  readonly key?: (world: World, verdict: Verdict) => string;
  readonly query?: (world: World) => string;
  readonly method?: "PUT" | "POST";
  readonly body?: (world: World) => object;
  /** What an allowed caller is answered. */
  readonly ok: number;
}

const web = ({ rig }: World): string => rig.allocation("web");
const node = ({ rig }: World): string => rig.agent(0).nodeId;
const ofNode = (world: World): string => `node_id=${node(world)}`;
const log = "path=/alloc/logs/t.stdout.0";
const evaluation = (world: World): string =>
  world.rig.gateway.registry.allocation(web(world))?.EvalID ?? "";
const pooled =
  (job: string) =>
  (world: World, verdict: Verdict): string =>
    verdict === "allowed" ? world.take(job) : world.victim(job);

const restartable = (world: World, verdict: Verdict): string =>
  verdict === "refused"
    ? world.victim("restarted")
    : (world.rig.allocationsOf("restarted").find(({ ID }) => ID !== world.victim("restarted"))
        ?.ID ?? "");

// biome-ignore format: a table
const cases: Readonly<Record<string, Case>> = {
  "fs.ls": { key: web, ok: 200 },
  "fs.stat": { key: web, query: () => "path=/alloc", ok: 200 },
  "fs.cat": { key: web, query: () => log, ok: 200 },
  "fs.readat": { key: web, query: () => `${log}&offset=1&limit=2`, ok: 200 },
  "fs.stream": { key: web, query: () => `${log}&follow=false`, ok: 200 },
  "fs.logs": { key: web, query: () => "task=t&type=stdout&plain=true", ok: 200 },
  "alloc.stats": { key: web, ok: 200 },
  "alloc.checks": { key: web, ok: 200 },
  "alloc.restart": { key: restartable, method: "PUT", body: () => ({}), ok: 200 },
  "alloc.signal": { key: web, method: "PUT", body: () => ({ Signal: "SIGCONT", Task: "t" }), ok: 200 },
  "alloc.gc": { key: pooled("done"), method: "PUT", ok: 200 },
  "alloc.pause.get": { key: web, ok: 500 },
  "alloc.pause.set": { key: web, method: "PUT", body: () => ({ Task: "t", ScheduleState: "run" }), ok: 500 },
  "alloc.exec": { key: web, ok: 101 },
  "client.metadata.get": { query: ofNode, ok: 200 },
  "client.metadata.post": { method: "POST", query: ofNode, body: () => ({ Meta: { colour: "green" } }), ok: 200 },
  "client.stats": { query: ofNode, ok: 200 },
  "client.gc": { query: ({ rig }) => `node_id=${rig.agent(1).nodeId}`, method: "PUT", ok: 200 },
  "allocs.list": { ok: 200 },
  "alloc.read": { key: web, ok: 200 },
  "alloc.stop": { key: pooled("stopped"), method: "PUT", ok: 200 },
  "alloc.services": { key: web, ok: 200 },
  "nodes.list": { ok: 200 },
  "node.allocations": { key: node, ok: 200 },
  "node.read": { key: node, ok: 200 },
  "evaluations.list": { ok: 200 },
  "evaluation.allocations": { key: evaluation, ok: 200 },
  "evaluation.read": { key: evaluation, ok: 200 },
  "jobs.list": { ok: 200 },
  "job.allocations": { key: () => "web", ok: 200 },
  "job.evaluations": { key: () => "web", ok: 200 },
  "job.summary": { key: () => "web", ok: 200 },
  "job.versions": { key: () => "web", ok: 200 },
  "job.deployments": { key: () => "web", ok: 200 },
  "job.deployment": { key: () => "web", ok: 200 },
  "job.read": { key: () => "web", ok: 200 },
  "deployments.list": { ok: 200 },
  "services.list": { ok: 200 },
  "service.read": { key: () => "web", ok: 200 },
  "volumes.list": { query: () => "type=csi", ok: 200 },
  search: { method: "POST", body: () => ({ Prefix: "", Context: "jobs" }), ok: 200 },
  "agent.self": { ok: 200 },
  "agent.health": { ok: 200 },
  "agent.members": { ok: 200 },
  "status.leader": { ok: 200 },
  "status.peers": { ok: 200 },
  "agent.servers": { ok: 501 },
  "regions.list": { ok: 200 },
  "namespaces.list": { ok: 200 },
  "acl.token.self": { ok: 200 },
  "acl.policies": { ok: 200 },
  "acl.policy": { key: () => "only-read-job", ok: 200 },
  // an ACL token, whichever, is no join token
  "serai.reach": { key: ({ rig }) => rig.agent().nodeId, ok: 200 },
  "serai.announce": { key: () => randomUUID(), method: "PUT", body: () => ({}), ok: 403 },
};

export const caseOf = (route: Route): Case => {
  const found = cases[route.name];
  assert.ok(found, `the row ${route.name} (${route.path}) has no case in the permission table`);
  return found;
};

export interface Door {
  /** `http://host:port`. */
  readonly at: string;
}

export const targetOf = (
  route: Route,
  world: World,
  verdict: Verdict,
  extra: readonly string[] = [],
): string => {
  const { key, query } = caseOf(route);
  const filled = route.path.replace(/[:*]id/, () => key?.(world, verdict) ?? "");
  const pairs = [...(query ? [query(world)] : []), ...extra].join("&");
  return pairs === "" ? filled : `${filled}?${pairs}`;
};

/** Sends a row's request as a caller. */
export const askRow = (
  route: Route,
  world: World,
  { at }: Door,
  caller: string,
  verdict: Verdict,
  extra: readonly string[] = [],
): Promise<Reply> => {
  const { method = "GET", body } = caseOf(route);
  return world.rig.ask({
    at,
    method,
    path: targetOf(route, world, verdict, extra),
    token: secretOf(world.rig, caller),
    ...(body === undefined ? {} : { body: JSON.stringify(body(world)) }),
  });
};

export const isRefusal = ({ status, text, headers }: Reply): boolean =>
  status === 403 &&
  text === "Permission denied" &&
  headers["content-type"] === "text/plain; charset=utf-8";

/* ---- exec ---- */

export interface Executed {
  readonly code: number;
  readonly reason: string;
  readonly exitCode: number | undefined;
  readonly stdout: string;
}

const outputOf = (frame: Json, name: string): string => {
  const part = isJsonObject(frame) ? frame[name] : undefined;
  const data = isJsonObject(part) ? part["data"] : undefined;
  return typeof data === "string" ? Buffer.from(data, "base64").toString() : "";
};

const exitOf = (frame: Json): number | undefined => {
  if (!isJsonObject(frame) || frame["exited"] !== true) return undefined;
  const code = isJsonObject(frame["result"]) ? frame["result"]["exit_code"] : undefined;
  return typeof code === "number" ? code : 0;
};

export interface ExecSocket {
  readonly socket: WebSocket;
  readonly opened: Promise<void>;
  /** Resolves with the first output of the command. */
  readonly spoke: Promise<void>;
  readonly ended: Promise<Executed>;
}

/** Opens an exec; `url` is http, with path and query. */
export const openExec = (url: string, token: string | undefined): ExecSocket => {
  const opened = Promise.withResolvers<void>();
  const spoke = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<Executed>();
  let stdout = "";
  let exitCode: number | undefined;
  const socket = new WebSocket(
    url.replace(/^http/, "ws"),
    token === undefined ? {} : { headers: { "x-nomad-token": token } },
  );
  socket.on("open", () => opened.resolve());
  socket.on("error", (error) => {
    opened.reject(error);
    ended.reject(error);
  });
  socket.on("message", (data) => {
    const frame = parseJson(String(data));
    stdout += outputOf(frame, "stdout");
    if (stdout !== "") spoke.resolve();
    exitCode ??= exitOf(frame);
  });
  socket.on("close", (code, reason) =>
    ended.resolve({ code, reason: String(reason), exitCode, stdout }),
  );
  opened.promise.catch(() => undefined); // whoever waits for the end hears of it too
  return { socket, opened: opened.promise, spoke: spoke.promise, ended: ended.promise };
};

const markerOf = ({ directory }: Rig): string => path.join(directory, "was-here");

/** Refused callers try to leave a mark; allowed ones say something. */
export const execRow = (
  route: Route,
  world: World,
  { at }: Door,
  caller: string,
  verdict: Verdict,
  extra: readonly string[] = [],
): Promise<Executed> => {
  const command = verdict === "refused" ? ["touch", markerOf(world.rig)] : ["echo", "in"];
  const query = ["task=t", `command=${encodeURIComponent(JSON.stringify(command))}`, ...extra];
  const url = `${at}${targetOf(route, world, verdict, query)}`;
  return openExec(url, secretOf(world.rig, caller)).ended;
};

/** What came of a row's request as a caller, in one word to compare. */
export const outcomeOf = async (
  route: Route,
  world: World,
  door: Door,
  caller: string,
  verdict: Verdict,
  extra: readonly string[] = [],
): Promise<string> => {
  if (route.carriage === "websocket") {
    const end = await execRow(route, world, door, caller, verdict, extra);
    if (end.code === 1011 && end.reason === "Permission denied") return "refused";
    return end.exitCode === 0 && end.stdout === "in\n" ? "101" : `${end.code} ${end.reason}`;
  }
  const reply = await askRow(route, world, door, caller, verdict, extra);
  if (isRefusal(reply)) return "refused";
  return reply.status === caseOf(route).ok ? String(reply.status) : `${reply.status} ${reply.text}`;
};
