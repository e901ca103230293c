/**
 * What people type: Nomad's own command line, told by NOMAD_ADDR to ask a server or serai. `{words}` are the world's or
 * of one side: `{job}` is its own job, `{mine}` that job's allocation, `{directory}` a directory of its own.
 */

export interface Command {
  readonly name: string;
  /** Words apart by blanks; what is in quotes is one. */
  readonly line: string;
  /** Typed into it: without a terminal all at once. */
  readonly input?: string;
  /** On a terminal; typed when the words before have come. */
  readonly typed?: readonly (readonly [after: string, keys: string])[];
  /** It lasts: ended by us as soon as this is in its output, and then only this is compared. */
  readonly until?: string;
  /** Figures of the moment: digits count as one. */
  readonly figures?: true;
  /** What it says depends on the moment: only its exit code and that these words are in it. */
  readonly says?: string;
  /** Its job runs afterwards, and `{mine}` is known. */
  readonly waits?: true;
  readonly token?: "reader" | "wrong" | "none" | "management";
}

// biome-ignore format: a table
export const commands: readonly Command[] = [
  { name: "job validate", line: "job validate {directory}/job.hcl" },
  { name: "job plan", line: "job plan {directory}/job.hcl" },
  { name: "job run", line: "job run -detach {directory}/job.hcl", waits: true },
  { name: "job run, watched", line: "job run {directory}/job.hcl", says: "finished with status \"complete\"" },
  { name: "job run of what is none", line: "job run {directory}/none.hcl" },
  { name: "job status", line: "job status {job}" },
  { name: "job status of a job with a slash", line: "job status a/b" },
  { name: "job allocs", line: "job allocs {job}" },
  { name: "job inspect", line: "job inspect -t {{.ID}}-{{.Status}}-{{len$.TaskGroups}} {job}" },
  { name: "job history", line: "job history {job}" },
  { name: "job deployments", line: "job deployments {job}" },
  { name: "job scaling events", line: "job scaling-events {job}" },
  { name: "job action", line: "job action -i=false -t=false -alloc {mine} -job {job} -task talk -group main greet" },
  { name: "job action by its group", line: "job action -i=false -t=false -job {job} -task talk -group main greet" },
  { name: "status of a prefix", line: "status {job}" },
  { name: "eval list", line: "eval list -job {job}", says: "job-register" },
  { name: "deployment list", line: "deployment list", says: "web" },
  { name: "service list", line: "service list" },
  { name: "service info", line: "service info web" },
  { name: "alloc status", line: "alloc status {mine}", figures: true },
  { name: "alloc status, short", line: "alloc status -short {mine}" },
  { name: "alloc status, as a document", line: "alloc status -t {{.ID}}-{{.ClientStatus}}-{{.NodeName}} {mine}" },
  { name: "alloc status of what is not there", line: "alloc status {unknown}" },
  { name: "alloc logs", line: "alloc logs {done} print" },
  { name: "alloc logs of stderr", line: "alloc logs -stderr {done} print" },
  { name: "alloc logs, the last ones", line: "alloc logs -tail -n 3 {done} print" },
  { name: "alloc logs, the last bytes", line: "alloc logs -tail -c 20 {done} print" },
  { name: "alloc logs of two tasks' flags", line: "alloc logs -task print {done} print" },
  { name: "alloc logs of a job that is not there", line: "alloc logs -job nope" },
  { name: "alloc logs in another namespace", line: "alloc logs -namespace other {done} print" },
  { name: "alloc logs, by a prefix of the id", line: "alloc logs {doneShort} print" },
  { name: "alloc logs, followed", line: "alloc logs -f {mine} talk", until: "line 3\n" },
  { name: "alloc logs, followed from the tail", line: "alloc logs -f -tail -n 2 {mine} talk", until: "\nline" },
  { name: "alloc logs of a job", line: "alloc logs -f -job {job} talk", until: "line 2\n" },
  { name: "alloc logs without the right", line: "alloc logs {apart} talk", token: "reader" },
  { name: "alloc exec", line: "alloc exec -i=false -t=false -task talk {mine} /bin/sh -c 'echo hi; echo oh >&2; exit 4'" },
  { name: "alloc exec with input", line: "alloc exec -i -t=false -task talk {mine} /bin/cat", input: "through and back\n" },
  { name: "alloc exec with megabytes of input", line: "alloc exec -i -t=false -task talk {mine} /bin/sh -c md5sum", input: "0123456789abcdef".repeat(300_000) },
  { name: "alloc exec of a job", line: "alloc exec -i=false -t=false -job -task talk -group main {job} /bin/echo hi" },
  { name: "alloc exec of a group that is not there", line: "alloc exec -i=false -t=false -job -task talk -group nope {job} /bin/echo hi" },
  { name: "alloc exec, killed", line: "alloc exec -i=false -t=false -task talk {mine} /bin/sh -c 'kill -9 $$'" },
  { name: "alloc exec, interrupted", line: "alloc exec -i=false -t=false -task talk {mine} /bin/sh -c 'echo ready; sleep 10'", until: "ready" },
  { name: "alloc exec with an escape of two characters", line: "alloc exec -e xx -i=false -t=false -task talk {mine} /bin/true" },
  { name: "alloc exec of the environment", line: "alloc exec -i=false -t=false -task talk {mine} /bin/sh -c 'echo $NOMAD_JOB_ID $NOMAD_TASK_NAME'" },
  { name: "alloc exec on a terminal", line: "alloc exec -i -t -task talk {mine} /bin/sh -c 'stty -echo; echo ready; read word; echo got $word; exit 5'", typed: [["ready", "hello\r"]] },
  { name: "alloc exec on a terminal, left by its escape", line: "alloc exec -i -t -task talk {mine} /bin/sh -c 'stty -echo; echo ready; cat'", typed: [["ready", "\r~."]] },
  { name: "alloc exec of what is not there", line: "alloc exec -i=false -t=false -task talk {mine} /bin/nope" },
  { name: "alloc exec without the right", line: "alloc exec -i=false -t=false -task talk {mine} /bin/true", token: "reader" },
  { name: "alloc fs", line: "alloc fs {alloc} alloc/data", figures: true },
  { name: "alloc fs of a file", line: "alloc fs {mine} alloc/data/hello.txt" },
  { name: "alloc fs, an awkward name", line: "alloc fs {mine} 'alloc/data/awkward name & 100%.txt'" },
  { name: "alloc fs -stat", line: "alloc fs -stat {mine} alloc/data/hello.txt" },
  { name: "alloc fs -tail", line: "alloc fs -tail -n 2 {mine} alloc/data/numbers.txt" },
  { name: "alloc fs -tail -f", line: "alloc fs -tail -n 2 -f {mine} alloc/data/numbers.txt", until: "20000\n" },
  { name: "alloc fs, the last bytes", line: "alloc fs -tail -c 10 {mine} alloc/data/numbers.txt" },
  { name: "alloc fs above the allocation", line: "alloc fs {mine} ../.." },
  { name: "alloc fs of a short id that is nobody's", line: "alloc fs zz" },
  { name: "alloc fs of what is not there", line: "alloc fs {mine} alloc/nope" },
  { name: "alloc checks", line: "alloc checks {alloc}", says: "answers" },
  { name: "alloc signal", line: "alloc signal -s SIGUSR1 {mine} talk" },
  { name: "alloc signal, none such", line: "alloc signal -s SIGNOPE {mine} talk" },
  { name: "alloc restart", line: "alloc restart {mine} talk", waits: true },
  { name: "alloc restart of all tasks", line: "alloc restart -all-tasks {mine}", waits: true },
  { name: "alloc restart of what is not there", line: "alloc restart {unknown}" },
  { name: "alloc pause", line: "alloc pause -status {mine} talk" },
  { name: "node status", line: "node status" },
  { name: "node status of one", line: "node status {node}", figures: true },
  { name: "node status, long", line: "node status -verbose -stats {node}", figures: true },
  { name: "node status without the right", line: "node status", token: "none" },
  { name: "node config of a server", line: "node config -servers" },
  { name: "node meta apply", line: "node meta apply -node-id {ownNode} colour=blue" },
  { name: "node meta read", line: "node meta read -node-id {ownNode}" },
  { name: "node meta unset", line: "node meta apply -node-id {ownNode} -unset colour" },
  { name: "node pool list", line: "node pool list" },
  { name: "node eligibility off", line: "node eligibility -disable {ownNode}" },
  { name: "node eligibility on", line: "node eligibility -enable {ownNode}" },
  { name: "server members", line: "server members" },
  { name: "server members, at length", line: "server members -verbose", says: "role=nomad" },
  { name: "agent-info", line: "agent-info", figures: true },
  { name: "monitor of a node", line: "monitor -log-level trace -node-id {node}", until: "[" },
  { name: "monitor of the server", line: "monitor -log-level trace", until: "[" },
  { name: "operator snapshot save", line: "operator snapshot save {directory}/state.snap", token: "management" },
  { name: "operator snapshot inspect", line: "operator snapshot inspect {directory}/state.snap", says: "Job" },
  { name: "operator raft list-peers", line: "operator raft list-peers" },
  { name: "operator autopilot", line: "operator autopilot get-config" },
  { name: "operator scheduler", line: "operator scheduler get-config" },
  { name: "operator api", line: "operator api /v1/namespaces" },
  { name: "operator api, a write", line: "operator api -X POST /v1/search", input: '{"Prefix":"we","Context":"jobs"}' },
  { name: "operator debug", line: "operator debug -duration 1s -interval 1s -pprof-duration 1s -node-id all -server-id all -output {directory}/debug", says: "Created debug", token: "management" },
  { name: "namespace apply", line: "namespace apply -description x {job}", token: "management" },
  { name: "namespace list", line: "namespace list", says: "{job}", token: "management" },
  { name: "namespace delete", line: "namespace delete {job}", token: "management" },
  { name: "var put", line: "var put -force kept/{job} a=b" },
  { name: "var get", line: "var get kept/{job}" },
  { name: "var list", line: "var list kept/{job}" },
  { name: "var purge", line: "var purge kept/{job}" },
  { name: "acl token self", line: "acl token self" },
  { name: "acl token self of none", line: "acl token self", token: "wrong" },
  { name: "acl policy list", line: "acl policy list", token: "management" },
  { name: "acl policy info", line: "acl policy info reader", token: "management" },
  { name: "acl token create", line: "acl token create -name {job} -policy reader", token: "management" },
  { name: "ui", line: "ui -show-url {job}" },
  { name: "volume status", line: "volume status" },
  { name: "system gc without the right", line: "system gc", token: "reader" },
  { name: "job scale", line: "job scale -detach {job} main 2" },
  { name: "alloc stop", line: "alloc stop -detach {mine}" },
  { name: "job stop", line: "job stop -detach {job}" },
  { name: "job stop and purge", line: "job stop -purge {job}", says: "finished with status \"complete\"" },
  { name: "node drain", line: "node drain -enable -detach -yes -ignore-system {ownNode}" },
  { name: "node drain off", line: "node drain -disable -yes {ownNode}" },
];
