/** What Nomad's command line asks, command by command: each request must get the status it got from Nomad. */
import type { Cluster } from "./cluster.ts";
import { type CliCommand, type CliRequest, cliCommands } from "./corpus.ts";
import { nodes } from "./jobs.ts";
import { secretOf } from "./tokens.ts";
import { exchange } from "./wire.ts";

export interface CliOutcome {
  readonly command: string;
  /** Empty: every status was the recorded one. */
  readonly unlike: readonly string[];
}

/** Commands that are not asked again, each with the reason. */
export const commandsLeftOut: readonly { readonly of: RegExp; readonly why: string }[] = [
  {
    of: /^nomad (monitor|node identity|action)/,
    why: "an agent's log, node identities and job actions are not served",
  },
  {
    of: /31a65b9b|job restart/,
    why: "follows evaluations and deployments of the recorded cluster by their ids",
  },
];

const uuid = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;
const known = new Set<string>(
  nodes.flatMap(({ id, allocations }) => [id, ...allocations.map((one) => one.id)]),
);

/** A request that follows an id which only the recorded cluster had cannot be asked again. */
const isAskable = ({ target }: CliRequest): boolean =>
  (target.split("?", 1)[0] ?? "").match(uuid)?.every((id) => known.has(id)) ?? true;

const bytesOf = ({ method, target, headers, body = "" }: CliRequest, token: string): Buffer => {
  const sent = headers.map(([name, value]) =>
    name.toLowerCase() === "x-nomad-token" ? [name, secretOf(token)] : [name, value],
  );
  const lines = [
    `${method} ${target} HTTP/1.1`,
    "Host: 127.0.0.1",
    ...sent.map(([name, value]) => `${name}: ${value}`),
    // the recording left it out
    ...(sent.some(([name]) => name?.toLowerCase() === "upgrade") ? ["Connection: Upgrade"] : []),
    ...(body === "" ? [] : [`Content-Length: ${Buffer.byteLength(body)}`]),
  ];
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n${body}`);
};

const patienceMs = 15_000;

const replayCommand = async (
  { command, token, requests }: CliCommand,
  cluster: Cluster,
): Promise<CliOutcome> => {
  const unlike: string[] = [];
  for (const request of requests.filter(isAskable)) {
    const door = request.to === "node" ? cluster.agent("client-2") : cluster.gateway;
    const { status } = await exchange(door, bytesOf(request, token), {
      bodiless: false,
      enough: () => true,
      patienceMs,
    });
    if (status !== request.status)
      unlike.push(`${request.method} ${request.target}: ${request.status} became ${status}`);
  }
  return { command, unlike };
};

export const replayCli = async (cluster: Cluster): Promise<readonly CliOutcome[]> => {
  const outcomes: CliOutcome[] = [];
  for (const command of cliCommands())
    if (!commandsLeftOut.some(({ of }) => of.test(command.command)))
      outcomes.push(await replayCommand(command, cluster));
  return outcomes;
};
