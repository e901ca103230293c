/**
 * A real Nomad cluster on loopback, from the binary that NOMAD_BIN names: servers and client agents as processes of their
 * own, with ACLs, raw_exec and statistics. Everything it started has ended when it is disposed of, its tasks too.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { inspect } from "node:util";
import { type Dispatcher, Agent as HttpAgent, request } from "undici";
import { isJsonObject, type Json, type JsonObject, parseJson } from "../../src/lib/json.ts";
import {
  createNomadAgent,
  endLeftovers,
  type NomadAgent,
  type NomadOptions,
  patienceMs,
  takeSeats,
} from "./nomad-agent.ts";
import { makeCertificates, type NomadCertificates } from "./nomad-certificates.ts";
import { until } from "./processes.ts";

/** Where the binary is; undefined: tests that need it are skipped with `noNomad` as their reason. */
export const nomadBinary: string | undefined = process.env["NOMAD_BIN"];

export const noNomad: string | false =
  nomadBinary === undefined &&
  "needs a real Nomad: NOMAD_BIN=/path/to/nomad npm run test:nomad (2.0.5 is what serai is held against)";

export interface NomadAsk {
  readonly method?: Dispatcher.HttpMethod;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** The management token unless given; "" is none. */
  readonly token?: string;
  /** The first server that runs, unless given. */
  readonly at?: NomadAgent;
}

export interface NomadReply {
  readonly status: number;
  readonly text: string;
  /** The text as JSON; undefined when it is none. */
  readonly document: Json | undefined;
}

export interface RunningJob {
  readonly id: string;
  /** Of its running allocations. */
  readonly allocations: readonly { readonly id: string; readonly nodeId: string }[];
}

export interface NomadCluster extends AsyncDisposable {
  readonly directory: string;
  /** The management token that the bootstrap gave. */
  readonly token: string;
  readonly servers: readonly NomadAgent[];
  readonly clients: readonly NomadAgent[];
  readonly certificates: NomadCertificates | undefined;
  readonly ask: (target: string, given?: NomadAsk) => Promise<NomadReply>;
  /** Registers the job (see `talker`) and waits until all its allocations run. */
  readonly run: (job: JsonObject) => Promise<RunningJob>;
  /** A token with a policy of these rules (HCL); its secret. */
  readonly tokenWith: (name: string, rules: string) => Promise<string>;
}

const documentOf = (text: string): Json | undefined => {
  try {
    return parseJson(text);
  } catch {
    return undefined; // an empty answer, or words
  }
};

const textOf = (value: Json | undefined, member: string): string => {
  const found = isJsonObject(value) ? value[member] : undefined;
  assert.ok(typeof found === "string", `${member} is missing: ${inspect(value)}`);
  return found;
};

const runningOf = (allocations: Json | undefined): RunningJob["allocations"] =>
  (Array.isArray(allocations) ? allocations : [])
    .filter((stub) => isJsonObject(stub) && stub["ClientStatus"] === "running")
    .map((stub) => ({ id: textOf(stub, "ID"), nodeId: textOf(stub, "NodeID") }));

const countOf = (job: JsonObject): number => {
  const [group] = Array.isArray(job["TaskGroups"]) ? job["TaskGroups"] : [];
  return isJsonObject(group) && typeof group["Count"] === "number" ? group["Count"] : 1;
};

/** Ready when it resolves: a leader, a token, every client `ready`. */
export const startNomad = async (options: NomadOptions): Promise<NomadCluster> => {
  const binary = nomadBinary;
  assert.ok(binary !== undefined, "NOMAD_BIN names no Nomad");
  await using stack = new AsyncDisposableStack();
  const directory = mkdtempSync(path.join(tmpdir(), "serai-nomad-"));
  const clear = (): void => {
    endLeftovers(directory);
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
  };
  const cut = (): never => process.exit(1);
  process.on("exit", clear);
  process.on("SIGTERM", cut); // a runner whose patience has ended
  stack.defer(() => {
    process.off("exit", clear);
    process.off("SIGTERM", cut);
    clear();
  });
  const certificates = options.tls === true ? makeCertificates(directory) : undefined;
  const dispatcher = new HttpAgent({ connections: 16, connect: { ...certificates?.client } });
  stack.defer(() => dispatcher.destroy());

  const fetchText = async (url: string, { method = "GET", body, token = "" }: NomadAsk) => {
    const answer = await request(url, {
      method,
      dispatcher,
      headers: token === "" ? {} : { "x-nomad-token": token },
      body: body === undefined ? null : JSON.stringify(body),
    });
    const text = await answer.body.text();
    return { status: answer.statusCode, text, document: documentOf(text) };
  };
  const answers = async (origin: string): Promise<boolean> => {
    try {
      return (await fetchText(`${origin}/v1/status/peers`, {})).status < 500;
    } catch {
      return false; // it does not listen yet
    }
  };

  const seats = await takeSeats(directory, options);
  const launch = { binary, options, certificates, answers };
  const servers = seats.servers.map((seat) => createNomadAgent(seat, launch));
  const clients = seats.clients.map((seat) => createNomadAgent(seat, launch));
  for (const agent of [...servers, ...clients]) stack.defer(() => agent.stop());
  await Promise.all(servers.map((server) => server.start()));

  const token = await until(
    "the cluster's first token",
    async () => {
      const made = await fetchText(`${servers[0]?.origin}/v1/acl/bootstrap`, { method: "POST" });
      return made.status === 200 && textOf(made.document, "SecretID");
    },
    patienceMs,
  );

  const atServer = async (): Promise<string> => {
    for (const { origin } of servers) if (await answers(origin)) return origin;
    throw new Error("no server answers");
  };
  const ask: NomadCluster["ask"] = async (target, given = {}) =>
    fetchText(`${given.at?.origin ?? (await atServer())}${target}`, { token, ...given });

  await Promise.all(clients.map((client) => client.start()));
  await until(
    "every client is ready",
    async () => {
      const { document } = await ask("/v1/nodes");
      const ready = (Array.isArray(document) ? document : []).filter(
        (node) => isJsonObject(node) && node["Status"] === "ready",
      );
      return ready.length === clients.length;
    },
    patienceMs,
  );

  stack.defer(() => stopJobs(ask));
  const running = stack.move();
  return {
    directory,
    token,
    servers,
    clients,
    certificates,
    ask,
    run: async (job) => {
      const made = await ask("/v1/jobs", { method: "PUT", body: { Job: job } });
      assert.equal(made.status, 200, made.text);
      const id = textOf(job, "ID");
      const namespace = encodeURIComponent(String(job["Namespace"] ?? "default"));
      const at = `/v1/job/${encodeURIComponent(id)}/allocations?namespace=${namespace}`;
      let seen = "";
      const allocations = await until(
        () => `${id} runs: ${seen.slice(0, 1500)}`,
        async () => {
          const { document, text } = await ask(at);
          seen = text;
          const found = runningOf(document);
          return found.length >= countOf(job) && found;
        },
        patienceMs,
      );
      return { id, allocations };
    },
    tokenWith: async (name, rules) => {
      const policy = await ask(`/v1/acl/policy/${name}`, {
        method: "PUT",
        body: { Name: name, Rules: rules },
      });
      assert.equal(policy.status, 200, policy.text);
      const made = await ask("/v1/acl/token", {
        method: "PUT",
        body: { Name: name, Type: "client", Policies: [name] },
      });
      assert.equal(made.status, 200, made.text);
      return textOf(made.document, "SecretID");
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
};

/** So that tasks end as Nomad ends them. Without a leader they are ended as leftovers. */
const stopJobs = async (ask: NomadCluster["ask"]): Promise<void> => {
  try {
    const { document } = await ask("/v1/jobs?namespace=*");
    for (const job of Array.isArray(document) ? document : []) {
      const namespace = encodeURIComponent(textOf(job, "Namespace"));
      const id = encodeURIComponent(textOf(job, "ID"));
      await ask(`/v1/job/${id}?purge=true&namespace=${namespace}`, { method: "DELETE" });
    }
    await until("all tasks ended", async () => {
      const left = await ask("/v1/allocations?namespace=*");
      return runningOf(left.document).length === 0;
    });
  } catch {
    // no leader, or a node that is away: `endLeftovers` ends the tasks
  }
};
