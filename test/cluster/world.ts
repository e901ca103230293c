/** A cluster with jobs, tokens and files, asked directly and through serai; the way between the two is listened in on. */
import type { JsonObject } from "../../src/lib/json.ts";
import { type CountingRelay, countingRelay } from "../support/counting-relay.ts";
import { type NomadCluster, startNomad } from "../support/nomad-cluster.ts";
import { talker } from "../support/nomad-jobs.ts";
import { until } from "../support/processes.ts";
import { type Serai, startSerai } from "./serai.ts";

/** Allocations must have been healthy for ten seconds. */
const deploymentPatienceMs = 60_000;

export const sides = ["nomad", "serai"] as const;
export type Side = (typeof sides)[number];

const rules = {
  operator: `
namespace "*" { policy = "write", capabilities = ["alloc-node-exec"] }
node { policy = "write" }
agent { policy = "write" }
operator { policy = "write" }`,
  reader: `
namespace "default" { policy = "read", capabilities = ["read-logs", "read-fs"] }
node { policy = "read" }`,
  lister: `namespace "default" { capabilities = ["list-jobs"] }`,
} as const;

export type TokenName = keyof typeof rules | "management" | "wrong" | "malformed" | "none";

export interface World extends AsyncDisposable {
  readonly nomad: NomadCluster;
  readonly serai: Serai;
  readonly relay: CountingRelay;
  readonly url: (side: Side) => string;
  readonly token: (name: TokenName) => string;
  /** Requests to every agent, so that those whose logs are watched have something to say. */
  readonly stir: () => Promise<void>;
  /** What `{name}` in a request stands for. */
  readonly words: (side: Side) => Readonly<Record<string, string>>;
}

const report = (id: string): JsonObject => ({
  ...talker({ id }),
  Type: "batch",
  TaskGroups: [
    {
      Name: "main",
      Count: 1,
      RestartPolicy: { Attempts: 0, Mode: "fail" },
      ReschedulePolicy: { Attempts: 0, Unlimited: false },
      Tasks: [
        {
          Name: "print",
          Driver: "raw_exec",
          Config: {
            command: "/bin/sh",
            args: [
              "-c",
              "seq 1 5000; echo all is well >&2; echo kept > $NOMAD_ALLOC_DIR/data/result.txt",
            ],
          },
          Resources: { CPU: 20, MemoryMB: 20 },
        },
      ],
    },
  ],
});

/** Says it has written its files. */
const readyToRead = (nomad: NomadCluster, allocation: string): Promise<true> =>
  until("the task has written its files", async () => {
    const log = `/v1/client/fs/logs/${allocation}?task=talk&type=stdout&plain=true`;
    return (await nomad.ask(log)).text.includes("ready") || undefined;
  });

const finished = (nomad: NomadCluster, job: string): Promise<string> =>
  until(`${job} is finished`, async () => {
    const { document } = await nomad.ask(`/v1/job/${job}/allocations`);
    const text = JSON.stringify(document, (_key, value: unknown) =>
      typeof value === "bigint" ? String(value) : value,
    );
    const found = /"ID":"([0-9a-f-]{36})"/.exec(text ?? "")?.[1];
    return text?.includes('"ClientStatus":"complete"') ? found : undefined;
  });

/** What is asked directly and then through serai is the same: a deployment that goes on counts its healthy allocations up. */
const deployed = (nomad: NomadCluster, job: string): Promise<true> =>
  until(
    `${job} is deployed`,
    async () => {
      const { text } = await nomad.ask(`/v1/job/${encodeURIComponent(job)}/deployment`);
      return text.includes('"Status":"successful"') || undefined;
    },
    deploymentPatienceMs,
  );

const web = (): JsonObject => {
  const check = {
    Name: "answers",
    Type: "http",
    Path: "/",
    Interval: 1_000_000_000,
    Timeout: 1_000_000_000,
  };
  const service = {
    Name: "web",
    Provider: "nomad",
    PortLabel: "http",
    Tags: ["blue"],
    Checks: [check],
  };
  return talker({
    id: "web",
    count: 2,
    large: true,
    group: {
      Networks: [{ Mode: "host", DynamicPorts: [{ Label: "http" }] }],
      Services: [service],
    },
    task: {
      Actions: [{ Name: "greet", Command: "/bin/sh", Args: ["-c", "echo hello; exit 3"] }],
    },
  });
};

export const startWorld = async (): Promise<World> => {
  await using stack = new AsyncDisposableStack();
  const nomad = stack.use(await startNomad({ servers: 1 }));
  const [server] = nomad.servers;
  const relay = stack.use(await countingRelay(server?.address ?? ""));
  await nomad.ask("/v1/namespace/other", { method: "PUT", body: { Name: "other" } });
  const run = async (job: JsonObject) => {
    const { allocations } = await nomad.run(job);
    await Promise.all(allocations.map(({ id }) => readyToRead(nomad, id)));
    return {
      ids: allocations.map(({ id }) => id),
      nodes: allocations.map(({ nodeId }) => nodeId),
    };
  };
  const [one, two, slashed, elsewhere] = await Promise.all([
    run(web()),
    run(talker({ id: "pair", count: 2, task: { KillTimeout: 1_000_000_000 } })),
    run(talker({ id: "a/b" })),
    run(talker({ id: "apart", namespace: "other" })),
  ]);
  const reported = async (id: string): Promise<string> => {
    await nomad.ask("/v1/jobs", { method: "PUT", body: { Job: report(id) } });
    return finished(nomad, id);
  };
  const done = await reported("report");
  const collected = {
    nomad: await reported("collected-there"),
    serai: await reported("collected-through"),
  };
  await deployed(nomad, "a/b");
  const serai = stack.use(await startSerai(nomad, [`http://${relay.address}`]));
  const tokens = new Map<TokenName, string>([
    ["management", nomad.token],
    ["wrong", "11111111-2222-3333-4444-555555555555"],
    ["malformed", "no-token"],
    ["none", ""],
  ]);
  for (const [name, text] of Object.entries(rules))
    tokens.set(
      name === "operator" || name === "reader" ? name : "lister",
      await nomad.tokenWith(name, text),
    );
  const shared = {
    alloc: one.ids[0] ?? "",
    alloc2: one.ids[1] ?? "",
    done,
    slashed: slashed.ids[0] ?? "",
    apart: elsewhere.ids[0] ?? "",
    node: one.nodes[0] ?? "",
    node2: one.nodes[1] ?? "",
    prefix: one.ids[0]?.slice(0, 8) ?? "",
    unknown: "99999999-9999-4999-8999-999999999999",
  };
  const running = stack.move();
  return {
    nomad,
    serai,
    relay,
    url: (side) => (side === "nomad" ? (server?.origin ?? "") : serai.url),
    token: (name) => tokens.get(name) ?? "",
    stir: async () => {
      for (const at of [...nomad.servers, ...nomad.clients])
        await nomad.ask("/v1/agent/self", { at });
    },
    words: (side) => ({
      ...shared,
      side: `asked-${side === "nomad" ? "there" : "through"}`,
      ownNode: one.nodes[side === "nomad" ? 0 : 1] ?? "",
      collected: collected[side],
      mine: two.ids[side === "nomad" ? 0 : 1] ?? "",
    }),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
};
