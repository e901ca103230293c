/**
 * THE ROUTE TABLE. One row an endpoint drives the router, the capability, the routing key, the deadline, the metric's
 * label, the ACL test matrix and the README's endpoint table. Adding an endpoint is adding a row.
 * Facts: nomad-http.md §2 (methods, rights), §14 (order of checks).
 */
import {
  logsParameters,
  lsParameters,
  noParameters,
  type Parameters,
  pathParameters,
  type RawQuery,
  readAtParameters,
  streamParameters,
  taskParameters,
} from "./parameters.ts";
import type { Level } from "./ports.ts";

/** The right a route needs. `anyOf`: one of them in the scope's namespace is enough. */
export type Rule =
  | { readonly on: "namespace"; readonly anyOf: readonly string[] }
  | { readonly on: "node"; readonly level: Level }
  | { readonly on: "agent"; readonly level: Level }
  /** The answer itself decides, item by item (lists over namespaces, ACL objects). */
  | { readonly on: "answer" }
  | { readonly on: "nobody" };

/** Where the routing key is: the allocation or node that the request is about. */
export type Key =
  | "allocation"
  | "allocation_namespace"
  | "node"
  | "node_of_path"
  | "namespace"
  | "none";

export type Carriage = "unary" | "download" | "follow" | "websocket" | "registry";

export type Body = "none" | "metadata" | "restart" | "signal" | "pause" | "search" | "announce";

/** `action`: restart and gc wait for processes to end, which may take their kill time-outs. */
export type Deadline = "first_byte" | "action";

export interface Route {
  /** Closed label; with `endpoint:` before it, the operation of the ACL vectors where they have one. */
  readonly name: string;
  /** Accepted methods; undefined accepts any (as Nomad does), HEAD included. */
  readonly methods: readonly string[] | undefined;
  /** Express path and metric label. `*` takes the rest, slashes included. */
  readonly path: string;
  readonly key: Key;
  readonly rule: Rule;
  readonly carriage: Carriage;
  readonly body: Body;
  readonly parameters: (raw: RawQuery) => Parameters;
  /** What the first byte of an agent's answer may take (carry's limits say how long); undefined: as long as it takes. */
  readonly deadline: Deadline | undefined;
  /** What the audit log calls it; undefined is not audited. */
  readonly audit: "read" | "exec" | "change" | undefined;
  /** One line for people: the README's endpoint table. */
  readonly about: string;
}

const namespaced = (...anyOf: readonly string[]): Rule => ({ on: "namespace", anyOf });
const nodeRead: Rule = { on: "node", level: "read" };
const nodeWrite: Rule = { on: "node", level: "write" };
const agentRead: Rule = { on: "agent", level: "read" };
const answerDecides: Rule = { on: "answer" };
const nobody: Rule = { on: "nobody" };

const base = { body: "none", parameters: noParameters, audit: undefined } as const;

const file = {
  ...base, key: "allocation", methods: undefined, rule: namespaced("read-fs"), deadline: "first_byte", audit: "read",
} as const satisfies Partial<Route>; // biome-ignore format: a row

const action = {
  ...base,
  key: "allocation",
  carriage: "unary",
  deadline: "first_byte",
} as const satisfies Partial<Route>;

const answered = {
  ...base, key: "none", methods: ["GET"], carriage: "registry", deadline: undefined,
} as const satisfies Partial<Route>; // biome-ignore format: a row

// biome-ignore format: a table
export const routes: readonly Route[] = [
  // Files and logs
  { ...file, name: "fs.ls", path: "/v1/client/fs/ls/*id", carriage: "unary", parameters: lsParameters, about: "list a directory of an allocation" },
  { ...file, name: "fs.stat", path: "/v1/client/fs/stat/*id", carriage: "unary", parameters: pathParameters, about: "describe a file" },
  { ...file, name: "fs.cat", path: "/v1/client/fs/cat/*id", carriage: "download", parameters: pathParameters, about: "read a whole file, or one range of it (`Range`, `If-Range`)" },
  { ...file, name: "fs.readat", path: "/v1/client/fs/readat/*id", carriage: "download", parameters: readAtParameters, about: "read a part of a file" },
  { ...file, name: "fs.stream", path: "/v1/client/fs/stream/*id", carriage: "follow", parameters: streamParameters, about: "follow a file in frames" },
  { ...file, name: "fs.logs", path: "/v1/client/fs/logs/*id", carriage: "follow", rule: namespaced("read-logs", "read-fs"), parameters: logsParameters, about: "read or follow a task's log (`resume`, `until=dead`, `await=start`)" },
  // An allocation on its node
  { ...action, name: "alloc.stats", path: "/v1/client/allocation/:id/stats", methods: undefined, rule: namespaced("read-job"), parameters: taskParameters, about: "resource usage of an allocation" },
  { ...action, name: "alloc.checks", path: "/v1/client/allocation/:id/checks", methods: undefined, rule: namespaced("read-job"), about: "results of its service checks" },
  { ...action, name: "alloc.checks", path: "/v1/allocation/:id/checks", methods: undefined, rule: namespaced("read-job"), about: "the same by its other name" },
  { ...action, name: "alloc.restart", path: "/v1/client/allocation/:id/restart", methods: undefined, rule: namespaced("alloc-lifecycle"), body: "restart", deadline: "action", audit: "change", about: "restart a task or all tasks" },
  { ...action, name: "alloc.signal", path: "/v1/client/allocation/:id/signal", methods: ["POST", "PUT"], rule: namespaced("alloc-lifecycle"), body: "signal", audit: "change", about: "send a signal to a task or all tasks" },
  { ...action, name: "alloc.gc", path: "/v1/client/allocation/:id/gc", methods: undefined, rule: namespaced("submit-job", "gc-allocation"), deadline: "action", audit: "change", about: "collect a finished allocation's files" },
  { ...action, name: "alloc.pause.get", path: "/v1/client/allocation/:id/pause", methods: ["GET"], rule: namespaced("read-job"), parameters: taskParameters, about: "Nomad Enterprise's pause: refused as Nomad's community edition does" },
  { ...action, name: "alloc.pause.set", path: "/v1/client/allocation/:id/pause", methods: ["POST", "PUT"], rule: namespaced("submit-job", "pause-allocation"), body: "pause", audit: "change", about: "the same, set" },
  { ...action, name: "alloc.exec", path: "/v1/client/allocation/:id/exec", methods: ["GET"], carriage: "websocket", rule: namespaced("alloc-exec"), audit: "exec", about: "run a command in a task (WebSocket); the agent asks for alloc-node-exec too" },
  // A node's agent
  { ...base, name: "client.metadata.get", path: "/v1/client/metadata", methods: ["GET"], key: "node", rule: nodeRead, carriage: "unary", deadline: "first_byte", about: "dynamic node metadata" },
  { ...base, name: "client.metadata.post", path: "/v1/client/metadata", methods: ["POST"], key: "node", rule: nodeWrite, carriage: "unary", body: "metadata", deadline: "first_byte", audit: "change", about: "set or unset dynamic node metadata" },
  { ...base, name: "client.stats", path: "/v1/client/stats", methods: undefined, key: "node", rule: nodeRead, carriage: "unary", deadline: "first_byte", about: "resource usage of a node" },
  { ...base, name: "client.gc", path: "/v1/client/gc", methods: undefined, key: "node", rule: nodeWrite, carriage: "unary", deadline: "action", audit: "change", about: "collect all finished allocations of a node" },
  // Allocations
  { ...answered, name: "allocs.list", path: "/v1/allocations", key: "namespace", rule: namespaced("read-job"), about: "list allocations (prefix, filter, paging, blocking)" },
  { ...answered, name: "alloc.read", path: "/v1/allocation/:id", rule: answerDecides, about: "one allocation (blocking)" },
  { ...answered, name: "alloc.stop", path: "/v1/allocation/:id/stop", methods: ["POST", "PUT"], key: "allocation_namespace", rule: namespaced("alloc-lifecycle"), audit: "change", about: "stop an allocation" },
  { ...answered, name: "alloc.services", path: "/v1/allocation/:id/services", key: "namespace", rule: namespaced("read-job"), about: "services an allocation registered" },
  // Nodes
  { ...answered, name: "nodes.list", path: "/v1/nodes", rule: nodeRead, about: "list nodes" },
  { ...answered, name: "node.allocations", path: "/v1/node/:id/allocations", rule: nodeRead, about: "allocations of a node" },
  { ...answered, name: "node.read", path: "/v1/node/*id", rule: nodeRead, about: "one node (blocking)" },
  // What clients ask besides
  { ...answered, name: "evaluations.list", path: "/v1/evaluations", key: "namespace", rule: namespaced("read-job"), about: "list evaluations (prefix, status, job, filter, paging)" },
  { ...answered, name: "evaluation.allocations", path: "/v1/evaluation/:id/allocations", rule: answerDecides, about: "allocations of an evaluation" },
  { ...answered, name: "evaluation.read", path: "/v1/evaluation/:id", rule: answerDecides, about: "one evaluation" },
  { ...answered, name: "jobs.list", path: "/v1/jobs", key: "namespace", rule: namespaced("list-jobs"), about: "list jobs" },
  { ...answered, name: "job.allocations", path: "/v1/job/:id/allocations", key: "namespace", rule: namespaced("read-job"), about: "allocations of a job" },
  { ...answered, name: "job.evaluations", path: "/v1/job/:id/evaluations", key: "namespace", rule: namespaced("read-job"), about: "evaluations of a job" },
  { ...answered, name: "job.summary", path: "/v1/job/:id/summary", methods: undefined, key: "namespace", rule: namespaced("read-job"), about: "a job's allocations, counted" },
  { ...answered, name: "job.versions", path: "/v1/job/:id/versions", methods: undefined, key: "namespace", rule: namespaced("read-job"), about: "versions of a job that allocations still carry" },
  { ...answered, name: "job.deployments", path: "/v1/job/:id/deployments", key: "namespace", rule: namespaced("read-job"), about: "deployments of a job: none" },
  { ...answered, name: "job.deployment", path: "/v1/job/:id/deployment", key: "namespace", rule: namespaced("read-job"), about: "a job's latest deployment: none" },
  { ...answered, name: "job.read", path: "/v1/job/:id", key: "namespace", rule: namespaced("read-job"), about: "one job" },
  { ...answered, name: "deployments.list", path: "/v1/deployments", key: "namespace", rule: namespaced("read-job"), about: "list deployments: none" },
  { ...answered, name: "services.list", path: "/v1/services", key: "namespace", rule: answerDecides, about: "names and tags of the services that run" },
  { ...answered, name: "service.read", path: "/v1/service/:id", key: "namespace", rule: namespaced("read-job"), about: "where a service runs (filter, paging, choose)" },
  { ...answered, name: "volumes.list", path: "/v1/volumes", key: "namespace", rule: answerDecides, about: "list volumes: none" },
  { ...answered, name: "search", path: "/v1/search", methods: ["POST", "PUT"], key: "namespace", rule: answerDecides, body: "search", about: "prefix search (shell completion)" },
  { ...answered, name: "agent.self", path: "/v1/agent/self", rule: agentRead, about: "the gateway, described as Nomad describes an agent" },
  { ...answered, name: "agent.health", path: "/v1/agent/health", rule: nobody, about: "health as Nomad's agents give it" },
  { ...answered, name: "agent.members", path: "/v1/agent/members", rule: nodeRead, about: "servers: the gateway itself" },
  { ...answered, name: "status.leader", path: "/v1/status/leader", rule: nobody, about: "the gateway's own address" },
  { ...answered, name: "status.peers", path: "/v1/status/peers", rule: nobody, about: "addresses of the servers: the gateway's own" },
  { ...answered, name: "agent.servers", path: "/v1/agent/servers", methods: undefined, rule: nobody, about: "a client agent's servers: refused, as a server refuses it" },
  { ...answered, name: "regions.list", path: "/v1/regions", rule: nobody, about: "the one region" },
  { ...answered, name: "namespaces.list", path: "/v1/namespaces", rule: answerDecides, about: "namespaces the caller has a right in" },
  { ...answered, name: "acl.token.self", path: "/v1/acl/token/self", rule: answerDecides, about: "the caller's own token" },
  { ...answered, name: "acl.policies", path: "/v1/acl/policies", rule: answerDecides, about: "the caller's policies" },
  { ...answered, name: "acl.policy", path: "/v1/acl/policy/*id", rule: answerDecides, about: "one policy with its rules" },
  // serai's own
  { ...answered, name: "serai.announce", path: "/v1/serai/node/:id", methods: ["PUT"], rule: nobody, body: "announce", about: "an agent announces itself with its join token or certificate" },
  { ...answered, name: "serai.reach", path: "/v1/serai/nodes/:id/reach", key: "node_of_path", rule: nodeRead, about: "the ways to a node: which there are, which one is taken, why the others are not" },
];

/** The row for a method among those of one path; undefined is Nomad's 405. */
export const rowFor = (rows: readonly Route[], method: string): Route | undefined =>
  rows.find(({ methods }) => methods === undefined || methods.includes(method));

const passed = {
  ...base,
  name: "pass_through",
  path: "/*",
  methods: undefined,
  key: "none",
  rule: nobody,
  carriage: "registry",
  deadline: undefined,
  about: "passed through to the servers",
} as const satisfies Route;

/** No rows of the table: the labels of what is passed through to a cluster's servers, which decide about it themselves. */
export const passedRoutes = {
  read: passed,
  change: { ...passed, audit: "change" },
  /** What goes on until somebody ends it: events, an agent's log. */
  stream: { ...passed, name: "pass_through.stream", path: "/v1/{event,agent}/*", carriage: "follow" },
  /** A job's action, and an exec in another region. */
  socket: { ...passed, name: "pass_through.exec", path: "/v1/job/:id/action", carriage: "websocket", audit: "exec" },
} as const satisfies Readonly<Record<string, Route>>; // biome-ignore format: a table

/** True when the right to it is the servers' to judge. */
export const isPassed = ({ name }: Route): boolean => name.startsWith(passed.name);

export const routeNamed = (name: string): Route => {
  const route = routes.find((row) => row.name === name);
  if (route === undefined) throw new RangeError(`no route is named ${name}`);
  return route;
};
