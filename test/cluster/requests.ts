/**
 * What is asked of Nomad directly and through serai: every route that serai carries itself with its refusals, and a wide
 * choice of what it passes on. `{words}` are the world's; `{side}`, `{mine}` and `{collected}` differ between the two, for what changes things.
 */
import type { TokenName } from "./world.ts";

/** How an answer is read: whole; as frames of a file; the beginning of one that lasts; the beginning of lines of events; one that is open and silent. */
export type Reading =
  | "answer"
  | "frames"
  | "follow"
  | "plain follow"
  | "events"
  | "silent"
  | "archive";

export interface Row {
  readonly name: string;
  readonly path: string;
  readonly method?: string;
  readonly token?: TokenName;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON, or as it is. */
  readonly body?: object | string;
  readonly reading?: Reading;
  /** Samples: only the form of the document is compared. */
  readonly samples?: true;
  /** It changes something: on each side with words of its own. What was made has ids and times of its own too. */
  readonly changes?: true;
  /** Carried by serai itself: the servers must not hear of it. */
  readonly carried?: true;
}

const encoded = encodeURIComponent;
const fs = (verb: string, path: string, more = ""): string =>
  `/v1/client/fs/${verb}/{alloc}?path=${encoded(path)}${more}`;
const log = (more: string, id = "{done}", task = "print"): string =>
  `/v1/client/fs/logs/${id}?task=${task}&${more}`;

/* ---- carried by serai ---- */

const files: readonly Row[] = [
  { name: "ls: the root", path: fs("ls", "/") },
  { name: "ls: a directory with awkward names", path: fs("ls", "alloc/data") },
  { name: "ls: without a path", path: "/v1/client/fs/ls/{alloc}" },
  { name: "ls: an allocation that has ended", path: "/v1/client/fs/ls/{done}?path=/alloc/data" },
  { name: "ls: a file", path: fs("ls", "alloc/data/hello.txt") },
  { name: "ls: a missing path", path: fs("ls", "alloc/nope") },
  { name: "ls: through a file", path: fs("ls", "alloc/data/hello.txt/x") },
  { name: "ls: a name that is too long", path: fs("ls", `alloc/${"x".repeat(300)}`) },
  { name: "ls: above the allocation", path: fs("ls", "../../..") },
  { name: "ls: of another namespace", path: "/v1/client/fs/ls/{apart}?path=/" },
  { name: "ls: pretty", path: fs("ls", "alloc/data/sub", "&pretty") },
  { name: "ls: HEAD", path: fs("ls", "alloc/data/sub"), method: "HEAD" },
  { name: "stat: a file", path: fs("stat", "alloc/data/hello.txt") },
  { name: "stat: a directory", path: fs("stat", "alloc/data") },
  { name: "stat: a link", path: fs("stat", "alloc/data/link.txt") },
  { name: "stat: a missing path", path: fs("stat", "alloc/nope") },
  { name: "stat: the secrets", path: fs("stat", "talk/secrets") },
  { name: "cat: a file", path: fs("cat", "alloc/data/hello.txt") },
  { name: "cat: an empty file", path: fs("cat", "alloc/data/empty.txt") },
  { name: "cat: blanks, ampersand, percent", path: fs("cat", "alloc/data/awkward name & 100%.txt") },
  { name: "cat: another script", path: fs("cat", "alloc/data/дорога.txt") },
  { name: "cat: plus, equals, question mark, hash", path: fs("cat", "alloc/data/a+b=c?d#e.txt") },
  { name: "cat: 64 MiB, to the byte", path: fs("cat", "alloc/data/large.bin") },
  { name: "cat: a missing path", path: fs("cat", "alloc/nope") },
  { name: "cat: a directory", path: fs("cat", "alloc/data") },
  { name: "cat: a file in the secrets", path: fs("cat", "talk/secrets/x") },
  { name: "readat: a part", path: fs("readat", "alloc/data/numbers.txt", "&offset=100&limit=50") },
  { name: "readat: past the end", path: fs("readat", "alloc/data/hello.txt", "&offset=100&limit=5") },
  { name: "readat: without an offset", path: fs("readat", "alloc/data/hello.txt", "&limit=5") },
  { name: "readat: a bad limit", path: fs("readat", "alloc/data/hello.txt", "&offset=0&limit=x") },
  { name: "readat: a missing path", path: fs("readat", "alloc/nope", "&offset=0&limit=5") },
  { name: "stream: a file to its end", path: fs("stream", "alloc/data/numbers.txt", "&follow=false"), reading: "frames" },
  { name: "stream: from before its beginning", path: fs("stream", "alloc/data/hello.txt", "&follow=false&origin=end&offset=1000000"), reading: "frames" },
  { name: "stream: from a negative place", path: fs("stream", "alloc/data/hello.txt", "&follow=false&offset=-5") },
  { name: "stream: from a place that no integer holds", path: fs("stream", "alloc/data/hello.txt", "&follow=false&offset=9223372036854775808") },
  { name: "stream: from its end", path: fs("stream", "alloc/data/numbers.txt", "&follow=false&origin=end&offset=20"), reading: "frames" },
  { name: "stream: plain", path: fs("stream", "alloc/data/numbers.txt", "&follow=false&plain=true") },
  { name: "stream: followed", path: fs("stream", "alloc/data/numbers.txt"), reading: "follow" },
  { name: "stream: followed, plain", path: fs("stream", "alloc/data/numbers.txt", "&plain=true"), reading: "plain follow" },
  { name: "stream: a missing path", path: fs("stream", "alloc/nope") },
  { name: "stream: a bad origin", path: fs("stream", "alloc/data/hello.txt", "&origin=middle") },
  { name: "logs: framed", path: log("type=stdout"), reading: "frames" },
  { name: "logs: stderr", path: log("type=stderr"), reading: "frames" },
  { name: "logs: plain", path: log("type=stdout&plain=true") },
  { name: "logs: plain, from the end", path: log("type=stdout&plain=true&origin=end&offset=100") },
  { name: "logs: followed to the task's end", path: log("type=stdout&follow=true"), reading: "follow" },
  { name: "logs: followed", path: log("type=stdout&follow=true", "{alloc}", "talk"), reading: "follow" },
  { name: "logs: followed, plain", path: log("type=stdout&follow=true&plain=true", "{alloc}", "talk"), reading: "plain follow" },
  { name: "logs: a bad type", path: log("type=stdin") },
  { name: "logs: no task", path: "/v1/client/fs/logs/{done}?type=stdout" },
  { name: "logs: a task that is not there", path: log("type=stdout", "{done}", "nope") },
]; // biome-ignore format: a table

const allocations: readonly Row[] = [
  { name: "stats", path: "/v1/client/allocation/{alloc}/stats", samples: true },
  { name: "stats: of a task", path: "/v1/client/allocation/{alloc}/stats?task=talk", samples: true },
  { name: "stats: of a task that is not there", path: "/v1/client/allocation/{alloc}/stats?task=nope" },
  { name: "stats: of one that has ended", path: "/v1/client/allocation/{done}/stats" },
  { name: "checks", path: "/v1/client/allocation/{alloc}/checks" },
  { name: "checks: by their other name", path: "/v1/allocation/{alloc}/checks" },
  { name: "checks: none", path: "/v1/client/allocation/{slashed}/checks" },
  { name: "pause: get", path: "/v1/client/allocation/{alloc}/pause?task=talk" },
  { name: "signal: a task", path: "/v1/client/allocation/{mine}/signal", method: "PUT", body: { Signal: "SIGUSR1", Task: "talk" }, changes: true },
  { name: "signal: all tasks", path: "/v1/client/allocation/{mine}/signal", method: "POST", body: { Signal: "SIGUSR1" }, changes: true },
  { name: "signal: none such", path: "/v1/client/allocation/{mine}/signal", method: "PUT", body: { Signal: "SIGNOPE", Task: "talk" }, changes: true },
  { name: "signal: no document", path: "/v1/client/allocation/{mine}/signal", method: "PUT", body: "nonsense", changes: true },
  ...["", "[]", '{"Signal":5}', '{"signal":"SIGUSR1","TASK":"nope"} and more'].map(
    (body): Row => ({ name: `signal: ${JSON.stringify(body)}`, path: "/v1/client/allocation/{mine}/signal", method: "PUT", body, changes: true }),
  ),
  { name: "pause: set, of another type", path: "/v1/client/allocation/{mine}/pause", method: "PUT", body: { Task: 5 }, changes: true },
  { name: "pause: set, blank", path: "/v1/client/allocation/{mine}/pause", method: "PUT", body: " ", changes: true },
  { name: "signal: a task that is not there", path: "/v1/client/allocation/{mine}/signal", method: "PUT", body: { Signal: "SIGUSR1", Task: "nope" }, changes: true },
  { name: "signal: one that has ended", path: "/v1/client/allocation/{done}/signal", method: "PUT", body: { Signal: "SIGUSR1" }, changes: true },
  { name: "restart: a task that is not there", path: "/v1/client/allocation/{mine}/restart", method: "PUT", body: { TaskName: "nope" }, changes: true },
  { name: "restart: one that has ended", path: "/v1/client/allocation/{done}/restart", method: "PUT", body: {}, changes: true },
  { name: "restart: a task", path: "/v1/client/allocation/{mine}/restart", method: "PUT", body: { TaskName: "talk" }, changes: true },
  { name: "restart: all tasks", path: "/v1/client/allocation/{mine}/restart", method: "PUT", body: { AllTasks: true }, changes: true },
  { name: "gc: one that runs", path: "/v1/client/allocation/{mine}/gc", changes: true },
  { name: "gc: one that has ended", path: "/v1/client/allocation/{collected}/gc", changes: true },
  { name: "gc: one that was collected", path: "/v1/client/allocation/{collected}/gc", changes: true },
  { name: "files of one that was collected", path: "/v1/client/fs/ls/{collected}?path=/", changes: true },
]; // biome-ignore format: a table

const node: readonly Row[] = [
  { name: "node stats", path: "/v1/client/stats?node_id={node}", samples: true },
  { name: "node stats: without a node", path: "/v1/client/stats" },
  { name: "node stats: an unknown node", path: "/v1/client/stats?node_id={unknown}" },
  { name: "node stats: a bad id", path: "/v1/client/stats?node_id=xyz" },
  { name: "node metadata", path: "/v1/client/metadata?node_id={node}" },
  { name: "node metadata: without a node", path: "/v1/client/metadata" },
  { name: "node metadata: an unknown node", path: "/v1/client/metadata?node_id={unknown}" },
  { name: "node metadata: set", path: "/v1/client/metadata?node_id={node}", method: "POST", body: { Meta: { colour: "{side}" } }, changes: true },
  { name: "node metadata: set by the body's node", path: "/v1/client/metadata", method: "POST", body: { NodeID: "{node}", Meta: { colour: "{side}" } }, changes: true },
  { name: "node metadata: unset", path: "/v1/client/metadata?node_id={node}", method: "POST", body: { Meta: { colour: null } }, changes: true },
  { name: "node metadata: a bad key", path: "/v1/client/metadata?node_id={node}", method: "POST", body: { Meta: { "a b": "c" } }, changes: true },
  ...["", "null", "[]", '{"Meta":{"a":1}}', '{"Meta":{"a":1.}}', '{"Meta":{"a":"b"', '{"meta":{"A":null}} and more', '{"Meta":{"":"b"}}', "\u0001", "й"].map(
    (body): Row => ({ name: `node metadata: ${JSON.stringify(body)}`, path: "/v1/client/metadata?node_id={node}", method: "POST", body, changes: true }),
  ),
  { name: "node metadata: no document", path: "/v1/client/metadata?node_id={node}", method: "POST", body: "nonsense", changes: true },
  { name: "node gc", path: "/v1/client/gc?node_id={node2}", changes: true },
  { name: "node gc: an unknown node", path: "/v1/client/gc?node_id={unknown}", changes: true },
]; // biome-ignore format: a table

/** One success of each route that is carried: `{key}` is the allocation or node. */
interface Carried {
  readonly what: string;
  readonly path: string;
  readonly method?: string;
  readonly body?: object;
  readonly key: "alloc" | "node";
  /** A token that lacks the right, though it knows the allocation. */
  readonly lacks?: TokenName;
}

const carried: readonly Carried[] = [
  { what: "ls", key: "alloc", path: "/v1/client/fs/ls/{key}?path=/" },
  { what: "stat", key: "alloc", path: "/v1/client/fs/stat/{key}?path=/alloc" },
  { what: "cat", key: "alloc", path: "/v1/client/fs/cat/{key}?path=/alloc/data/hello.txt" },
  { what: "readat", key: "alloc", path: "/v1/client/fs/readat/{key}?path=/alloc/data/hello.txt&offset=1&limit=3" },
  { what: "stream", key: "alloc", path: "/v1/client/fs/stream/{key}?path=/alloc/data/hello.txt&follow=false" },
  { what: "logs", key: "alloc", path: "/v1/client/fs/logs/{key}?task=talk&type=stdout" },
  { what: "stats", key: "alloc", path: "/v1/client/allocation/{key}/stats" },
  { what: "checks", key: "alloc", path: "/v1/client/allocation/{key}/checks" },
  { what: "restart", key: "alloc", path: "/v1/client/allocation/{key}/restart", method: "PUT", body: { TaskName: "talk" }, lacks: "reader" },
  { what: "signal", key: "alloc", path: "/v1/client/allocation/{key}/signal", method: "PUT", body: { Signal: "SIGUSR1" }, lacks: "reader" },
  { what: "gc", key: "alloc", path: "/v1/client/allocation/{key}/gc", lacks: "reader" },
  { what: "node stats", key: "node", path: "/v1/client/stats?node_id={key}" },
  { what: "node gc", key: "node", path: "/v1/client/gc?node_id={key}", lacks: "reader" },
  { what: "node metadata", key: "node", path: "/v1/client/metadata?node_id={key}" },
  { what: "node metadata set", key: "node", path: "/v1/client/metadata?node_id={key}", method: "POST", body: { Meta: { a: "b" } }, lacks: "reader" },
]; // biome-ignore format: a table

const refusalsOf = ({ what, path, method = "GET", body, key, lacks = "lister" }: Carried): Row[] => {
  const at = (id: string): string => path.replace("{key}", id);
  const ask = { method, ...(body === undefined ? {} : { body }) };
  const own = at(`{${key}}`);
  return [
    { ...ask, name: `${what}: no token`, path: own, token: "none" },
    { ...ask, name: `${what}: a wrong token`, path: own, token: "wrong" },
    { ...ask, name: `${what}: a malformed token`, path: own, token: "malformed" },
    { ...ask, name: `${what}: a token without the right`, path: own, token: lacks },
    { ...ask, name: `${what}: an unknown id`, path: at("{unknown}") },
    { ...ask, name: `${what}: an unknown id without the right`, path: at("{unknown}"), token: "lister" },
    { ...ask, name: `${what}: a bad id`, path: at("not-an-id") },
    { ...ask, name: `${what}: a wrong method`, path: own, method: "DELETE" },
  ];
}; // biome-ignore format: a table

const methodsThatAct = /^(gc|node gc|restart): a wrong method$/;

const refusals = carried
  .flatMap(refusalsOf)
  // those take any method: the row would act
  .filter(({ name }) => !methodsThatAct.test(name));

const ofCarried = (rows: readonly Row[]): readonly Row[] =>
  rows.map((row) => ({ ...row, carried: true }));

/* ---- passed on ---- */

const job = (id: string): object => ({
  Job: {
    ID: id,
    Type: "batch",
    Datacenters: ["nowhere"],
    TaskGroups: [{ Name: "main", Tasks: [{ Name: "main", Driver: "raw_exec", Config: { command: "/bin/true" } }] }],
  },
}); // biome-ignore format: a job

const reads: readonly Row[] = [
  ...[
    "/v1/jobs", "/v1/jobs?namespace=*", "/v1/jobs?prefix=w", "/v1/jobs?meta=true", "/v1/job/web", "/v1/job/a%2Fb", "/v1/job/a%2Fb/allocations",
    "/v1/job/nope", "/v1/job/web/summary", "/v1/job/web/versions", "/v1/job/web/allocations?all=true", "/v1/job/web/evaluations",
    "/v1/job/web/deployments", "/v1/job/web/deployment", "/v1/job/web/scale", "/v1/job/web/submission?version=0", "/v1/job/web/actions",
    "/v1/jobs/statuses", "/v1/allocations", "/v1/allocations?namespace=*", "/v1/allocations?per_page=2", "/v1/allocations?prefix={prefix}",
    "/v1/allocations?filter=JobID+%3D%3D+%22web%22", "/v1/allocations?filter=nonsense", "/v1/allocations?per_page=x", "/v1/allocations?prefix=abc",
    "/v1/allocations?resources=true", "/v1/allocations?task_states=false", "/v1/allocations?reverse=true", "/v1/allocations?index=1",
    "/v1/allocations?index=x", "/v1/allocation/{alloc}", "/v1/allocation/{unknown}", "/v1/allocation/not-an-id", "/v1/allocation/{alloc}?pretty",
    "/v1/allocation/{alloc}/services", "/v1/allocations?region=nowhere", "/v1/nodes", "/v1/nodes?resources=true", "/v1/nodes?os=true",
    "/v1/node/{node}", "/v1/node/{node}?pretty", "/v1/node/{unknown}", "/v1/node/{node}/allocations", "/v1/node/pools", "/v1/node/pool/default",
    "/v1/node/pool/default/nodes", "/v1/evaluations", "/v1/evaluations/count", "/v1/evaluations?per_page=1", "/v1/deployments",
    "/v1/namespaces", "/v1/namespace/other", "/v1/namespace/nope", "/v1/vars", "/v1/var/nope", "/v1/acl/tokens", "/v1/acl/token/self",
    "/v1/acl/policies", "/v1/acl/policy/reader", "/v1/acl/roles", "/v1/acl/auth-methods", "/v1/acl/binding-rules", "/v1/services",
    "/v1/service/web", "/v1/status/leader", "/v1/status/peers", "/v1/regions", "/v1/agent/members", "/v1/agent/health", "/v1/agent/servers",
    "/v1/agent/schedulers", "/v1/operator/raft/configuration", "/v1/operator/autopilot/configuration", "/v1/operator/autopilot/health",
    "/v1/operator/scheduler/configuration", "/v1/volumes?type=csi", "/v1/volumes?type=host", "/v1/plugins?type=csi", "/v1/scaling/policies",
    "/v1/nope", "/v1", "/v1/", "/", "/ui/", "/ui", "/ui/jobs", "/ui/favicon.ico", "/favicon.ico", "//v1/jobs", "/v1//jobs", "/v1/job//web",
    "/v1/recommendations", "/v1/quotas", "/v1/sentinel/policies", "/.well-known/jwks.json", "/.well-known/openid-configuration",
    "/v1/agent/host?node_id={node}", "/v1/operator/license", "/v1/operator/utilization", "/v1/client/allocation/{alloc}/nope", "/v1/client/nope",
    "/v1/client/identity?node_id={node}", "/v1/agent/keyring/list", "/v1/operator/keyring/keys",
  ].map((path): Row => ({ name: `GET ${path}`, path })),
  { name: "agent/self", path: "/v1/agent/self", samples: true },
  { name: "agent metrics", path: "/v1/metrics", samples: true },
  { name: "pprof of a node", path: "/v1/agent/pprof/cmdline?node_id={node}" },
  { name: "pprof of a server", path: "/v1/agent/pprof/cmdline" },
  { name: "pprof of what there is not", path: "/v1/agent/pprof/nope" },
  { name: "agent/monitor of a node", path: "/v1/agent/monitor?node_id={node}&log_level=trace&plain=true", reading: "events" },
  { name: "agent/monitor of the server", path: "/v1/agent/monitor?log_level=trace", reading: "events" },
  { name: "agent/monitor: a bad level", path: "/v1/agent/monitor?log_level=nope" },
  { name: "event stream", path: "/v1/event/stream?topic=Job&topic=Allocation&index=1", reading: "events" },
  { name: "event stream: a bad index", path: "/v1/event/stream?index=x" },
  { name: "event stream: no token", path: "/v1/event/stream", token: "none", reading: "silent" },
  { name: "snapshot", path: "/v1/operator/snapshot", reading: "archive", token: "management" },
  { name: "snapshot: without the right", path: "/v1/operator/snapshot"},
  { name: "snapshot: no token", path: "/v1/operator/snapshot", token: "none" },
  { name: "jobs: no token", path: "/v1/jobs", token: "none" },
  { name: "jobs: a wrong token", path: "/v1/jobs", token: "wrong" },
  { name: "jobs: a malformed token", path: "/v1/jobs", token: "malformed" },
  { name: "nodes: without the right", path: "/v1/nodes", token: "lister" },
  { name: "jobs: a bearer token", path: "/v1/jobs", token: "none", headers: { Authorization: "Bearer {operator}" } },
  { name: "own token", path: "/v1/acl/token/self", token: "reader" },
  { name: "jobs: a page's origin", path: "/v1/jobs", headers: { Origin: "https://page.example" } },
  { name: "jobs: HEAD", path: "/v1/jobs", method: "HEAD" },
  { name: "jobs: a wrong method", path: "/v1/jobs", method: "DELETE" },
  { name: "blocking read that waits its time out", path: "/v1/nodes?index=4000000&wait=200ms" },
  { name: "stale read", path: "/v1/allocations?stale=true" },
]; // biome-ignore format: a table

const searches: readonly Row[] = [
  { name: "search", path: "/v1/search", method: "POST", body: { Prefix: "we", Context: "jobs" } },
  { name: "search: allocations", path: "/v1/search", method: "PUT", body: { Prefix: "{prefix}", Context: "allocs" } },
  { name: "fuzzy search", path: "/v1/search/fuzzy", method: "POST", body: { Text: "we", Context: "all" } },
  { name: "parse a job", path: "/v1/jobs/parse", method: "POST", body: { JobHCL: 'job "x" { group "g" { task "t" { driver = "raw_exec" } } }', Canonicalize: true } },
  { name: "parse what is none", path: "/v1/jobs/parse", method: "POST", body: { JobHCL: "nonsense {" } },
  { name: "validate a job", path: "/v1/validate/job", method: "PUT", body: job("valid") },
  { name: "plan a job", path: "/v1/job/planned/plan", method: "PUT", body: { ...job("planned"), Diff: true } },
]; // biome-ignore format: a table

const changes: readonly Row[] = ([
  { name: "register a job", path: "/v1/jobs", method: "PUT", body: job("made-{side}") },
  { name: "register a job with a slash", path: "/v1/jobs", method: "POST", body: job("made/{side}") },
  { name: "register without the right", path: "/v1/jobs", method: "PUT", body: job("made-{side}"), token: "reader" },
  { name: "register nonsense", path: "/v1/jobs", method: "PUT", body: "nonsense" },
  { name: "register an impossible job", path: "/v1/jobs", method: "PUT", body: { Job: { ID: "x y" } } },
  { name: "evaluate a job", path: "/v1/job/made-{side}/evaluate", method: "PUT", body: { JobID: "made-{side}" } },
  { name: "scale a job", path: "/v1/job/made-{side}/scale", method: "PUT", body: { Count: 0, Target: { Group: "main" } } },
  { name: "scale what is not there", path: "/v1/job/nope/scale", method: "PUT", body: { Count: 0, Target: { Group: "main" } } },
  { name: "deregister a job", path: "/v1/job/made-{side}?purge=true", method: "DELETE" },
  { name: "deregister a job with a slash", path: "/v1/job/made%2F{side}?purge=true", method: "DELETE" },
  { name: "make a namespace", path: "/v1/namespace/space-{side}", method: "PUT", body: { Name: "space-{side}" } },
  { name: "read it", path: "/v1/namespace/space-{side}" },
  { name: "delete it", path: "/v1/namespace/space-{side}", method: "DELETE" },
  { name: "put a variable", path: "/v1/var/kept/{side}", method: "PUT", body: { Items: { a: "b" } } },
  { name: "put one against a check", path: "/v1/var/kept/{side}?cas=1", method: "PUT", body: { Items: { a: "c" } } },
  { name: "read it", path: "/v1/var/kept/{side}" },
  { name: "delete it", path: "/v1/var/kept/{side}", method: "DELETE" },
  { name: "make a policy", path: "/v1/acl/policy/policy-{side}", method: "PUT", body: { Name: "policy-{side}", Rules: 'agent { policy = "read" }' }, token: "management" },
  { name: "read it", path: "/v1/acl/policy/policy-{side}", token: "management" },
  { name: "make a role", path: "/v1/acl/role", method: "PUT", body: { Name: "role-{side}", Policies: [{ Name: "policy-{side}" }] }, token: "management" },
  { name: "make a token", path: "/v1/acl/token", method: "PUT", body: { Name: "token", Type: "client", Policies: ["policy-{side}"] }, token: "management" },
  { name: "make a token without the right", path: "/v1/acl/token", method: "PUT", body: { Name: "token", Type: "client", Policies: ["policy-{side}"] } },
  { name: "delete the policy", path: "/v1/acl/policy/policy-{side}", method: "DELETE", token: "management" },
  { name: "take a node out", path: "/v1/node/{ownNode}/eligibility", method: "POST", body: { Eligibility: "ineligible" } },
  { name: "put it back", path: "/v1/node/{ownNode}/eligibility", method: "POST", body: { Eligibility: "eligible" } },
  { name: "drain a node, ignoring what it runs", path: "/v1/node/{node2}/drain", method: "POST", body: { DrainSpec: null, MarkEligible: true } },
  { name: "evaluate a node", path: "/v1/node/{node2}/evaluate", method: "POST" },
  { name: "eligibility without the right", path: "/v1/node/{node2}/eligibility", method: "POST", body: { Eligibility: "eligible" }, token: "reader" },
  { name: "collect the system's garbage without the right", path: "/v1/system/gc", method: "PUT", token: "reader" },
  { name: "reconcile summaries", path: "/v1/system/reconcile/summaries", method: "PUT", token: "management" },
  { name: "raise the log level", path: "/v1/operator/scheduler/configuration", method: "PUT", body: { SchedulerAlgorithm: "binpack" }, token: "reader" },
  { name: "stop without the right", path: "/v1/allocation/{mine}/stop", method: "PUT", token: "reader" },
  { name: "stop an allocation", path: "/v1/allocation/{mine}/stop", method: "PUT" },
  { name: "stop what is not there", path: "/v1/allocation/{unknown}/stop", method: "PUT" },
  { name: "one-time token", path: "/v1/acl/token/onetime", method: "POST" },
] as const).map((row) => ({ ...row, changes: true })); // biome-ignore format: a table

export const rows: readonly Row[] = [
  ...ofCarried(files),
  ...ofCarried(refusals),
  ...ofCarried(node),
  ...reads,
  ...searches,
  ...ofCarried(allocations),
  ...changes,
];
