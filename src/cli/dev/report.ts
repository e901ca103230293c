/** What `serai dev` prints: for people text with lines to copy, for programs one line of JSON. */
import type { AllocationDocument, NodeDocument } from "../../documents.ts";
import { nodeOfTunnelAddress } from "../../tunnel/protocol.ts";
import type { DevSecrets } from "./home.ts";

export interface DevState {
  readonly url: string;
  readonly adminUrl: string;
  readonly secrets: DevSecrets;
  readonly nodes: readonly NodeDocument[];
  readonly allocations: readonly AllocationDocument[];
  readonly directory: string;
}

const taskNames = ({ TaskStates }: AllocationDocument): readonly string[] =>
  Object.keys(TaskStates ?? {});

/** One line: `{"url","admin_url","tokens","nodes","allocations"}`. */
export const toJsonLine = ({ url, adminUrl, secrets, nodes, allocations }: DevState): string => {
  const { management, operator, reader, none } = secrets;
  return JSON.stringify({
    url,
    admin_url: adminUrl,
    tokens: { management, operator, reader, none },
    nodes: nodes.map(({ ID, Name, HTTPAddr }) => ({ ID, Name, address: HTTPAddr })),
    allocations: allocations.map((allocation) => ({
      ID: allocation.ID,
      Name: allocation.Name,
      JobID: allocation.JobID,
      Namespace: allocation.Namespace,
      NodeID: allocation.NodeID,
      TaskGroup: allocation.TaskGroup,
      Tasks: taskNames(allocation),
      ClientStatus: allocation.ClientStatus,
    })),
  });
};

const columns = (rows: readonly (readonly string[])[]): string => {
  const widths = rows.reduce<number[]>(
    (most, row) => row.map((cell, at) => Math.max(most[at] ?? 0, cell.length)),
    [],
  );
  return rows
    .map(
      (row) =>
        `  ${row
          .map((cell, at) => cell.padEnd(widths[at] ?? 0))
          .join("  ")
          .trimEnd()}`,
    )
    .join("\n");
};

const table = ({ allocations, nodes }: DevState): string => {
  const nodeName = new Map(nodes.map(({ ID, Name }) => [ID, Name]));
  return columns([
    ["ALLOCATION", "JOB", "NAMESPACE", "NODE", "TASKS", "STATUS"],
    ...allocations.map((allocation) => [
      allocation.ID,
      allocation.JobID,
      allocation.Namespace,
      nodeName.get(allocation.NodeID) ?? allocation.NodeID,
      taskNames(allocation).join(","),
      allocation.ClientStatus,
    ]),
  ]);
};

/** Who they are and where they listen, if they do. */
const agents = ({ nodes }: DevState): string =>
  nodes
    .map(({ Name, HTTPAddr }) =>
      nodeOfTunnelAddress(HTTPAddr) === undefined
        ? `${Name} on ${HTTPAddr}`
        : `${Name} has no port, it dials out`,
    )
    .join("\n           ");

/** The first allocation of a job, else the first of all: workloads may be the user's own. */
const pick = ({ allocations }: DevState, job: string): AllocationDocument | undefined =>
  allocations.find(({ JobID }) => JobID === job) ?? allocations[0];

const mainTask = (allocation: AllocationDocument, wanted: string): string => {
  const names = taskNames(allocation);
  return names.includes(wanted) ? wanted : (names[0] ?? "");
};

/** Lines to copy, each whole on its own line, so that it can be pasted as it is. */
const recipes = (state: DevState): string => {
  const { url, adminUrl } = state;
  const web = pick(state, "web");
  const chatter = pick(state, "chatter");
  const [node] = state.nodes;
  if (web === undefined || chatter === undefined || node === undefined) return "";
  const talk = mainTask(chatter, "talk");
  const curl = 'curl -s -H "X-Nomad-Token: $NOMAD_TOKEN"';
  const follow = 'curl -sN -H "X-Nomad-Token: $NOMAD_TOKEN"';
  const file =
    web.JobID === "web" ? "alloc/data/hello.txt" : `alloc/logs/${mainTask(web, "")}.stdout.0`;
  return [
    "# Copy this first",
    `export NOMAD_ADDR=${url} NOMAD_TOKEN=${state.secrets.operator} NO_RIGHTS=${state.secrets.none} WEB=${web.ID} CHATTER=${chatter.ID} NODE=${node.ID}`,
    "# Read a file",
    `${curl} "$NOMAD_ADDR/v1/client/fs/cat/${web.ID}?path=${file}"`,
    "# Follow a log (Ctrl-C ends it)",
    `${follow} "$NOMAD_ADDR/v1/client/fs/logs/${chatter.ID}?task=${talk}&type=stdout&follow=true&plain=true"`,
    "# Set a node's metadata, and read it",
    `${curl} -d '{"Meta":{"owner":"me"}}' "$NOMAD_ADDR/v1/client/metadata?node_id=${node.ID}"`,
    `${curl} "$NOMAD_ADDR/v1/client/metadata?node_id=${node.ID}"`,
    "# A token without the right is refused",
    `curl -s -H "X-Nomad-Token: ${state.secrets.none}" "$NOMAD_ADDR/v1/client/fs/cat/${web.ID}?path=${file}"`,
    "# How the gateway gets to a node",
    `${curl} "$NOMAD_ADDR/v1/serai/nodes/${node.ID}/reach?pretty"`,
    "# Metrics",
    `curl -s ${adminUrl}/metrics | grep serai_http_requests_total`,
    "",
    "# The nomad CLI reads NOMAD_ADDR and NOMAD_TOKEN; so do its SDKs",
    `nomad alloc fs ${web.ID} ${file}`,
    `nomad alloc logs -f ${chatter.ID} ${talk}`,
    `nomad alloc exec -task ${talk} ${chatter.ID} /bin/sh`,
    `nomad node meta apply -node-id ${node.ID} owner=me`,
  ]
    .map((line) => (line === "" ? line : `  ${line}`))
    .join("\n");
};

const tryIt = (state: DevState): string => {
  const lines = recipes(state);
  return lines === "" ? "" : `\nTry it\n${lines}\n`;
};

/** The page a person reads when all is up. */
export const toText = (state: DevState): string => {
  const { management, operator, reader, none } = state.secrets;
  return `serai is ready.

  gateway  ${state.url}
  admin    ${state.adminUrl}  (/metrics, /readyz?verbose, /debug/live)
  agents   ${agents(state)}
  data     ${state.directory}  (log/ has the logs; remove it all to start anew)

Tokens
${columns([
  ["operator", operator, "reads, writes, runs commands, everywhere"],
  ["reader", reader, "reads jobs, files and logs of namespace default"],
  ["none", none, "a valid token without any right"],
  ["management", management, "everything"],
])}

Allocations
${table(state)}
${tryIt(state)}
Ctrl-C ends the gateway, its agents and their workloads.
`;
};
