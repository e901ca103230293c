/** Programs of the official Go SDK and of python-nomad, unchanged, are given the same through serai as beside it, call by call. */
import assert from "node:assert/strict";
import { after, before, describe, type TestContext, test } from "node:test";
import { isJsonObject, type Json, type JsonObject, parseJson } from "../../src/lib/json.ts";
import { type Directory, run, temporaryDirectory } from "../cli/support.ts";
import { type ClientProgram, goClient, type Places, pythonClient } from "../clients/programs.ts";
import { type NomadCluster, noNomad, startNomad } from "../support/nomad-cluster.ts";
import { awkwardNames, talker } from "../support/nomad-jobs.ts";
import { until } from "../support/processes.ts";
import { type Serai, startSerai } from "./serai.ts";
import type { Side } from "./world.ts";

const rules = `
namespace "*" { policy = "write", capabilities = ["alloc-node-exec"] }
node { policy = "write" }
agent { policy = "write" }
operator { policy = "write" }`;

const done = { Task: "print", Stdout: "all is done\n", Stderr: "nothing to worry about\n" };

/* ---- a side's own jobs ---- */

/** A batch: it has no deployment, whose state would be of the moment. */
const batch = (job: JsonObject): JsonObject => ({ ...job, Type: "batch" });

const printing = (id: string): JsonObject => {
  const script = `printf '${done.Stdout}'; printf '${done.Stderr}' >&2`.replaceAll("\n", "\\n");
  const config = { command: "/bin/sh", args: ["-c", script] };
  return batch(talker({ id, task: { Name: done.Task, Config: config } }));
};

const finished = (nomad: NomadCluster, job: string): Promise<string> =>
  until(`${job} is finished`, async () => {
    const { text } = await nomad.ask(`/v1/job/${job}/allocations`);
    const found = /"ID":"([0-9a-f-]{36})"/.exec(text)?.[1];
    return text.includes('"ClientStatus":"complete"') ? found : undefined;
  });

const written = (nomad: NomadCluster, allocation: string): Promise<true> =>
  until("the task has written its files", async () => {
    const log = `/v1/client/fs/logs/${allocation}?task=talk&type=stdout&plain=true`;
    return (await nomad.ask(log)).text.includes("ready") || undefined;
  });

const placesOf = async (nomad: NomadCluster, job: string): Promise<Places> => {
  const [talks, ends] = await Promise.all([
    nomad.run(batch(talker({ id: job, large: true }))),
    nomad.run(batch(talker({ id: `${job}-ends` }))),
    nomad.ask("/v1/jobs", { method: "PUT", body: { Job: printing(`${job}-done`) } }),
  ]);
  const [{ id, nodeId } = { id: "", nodeId: "" }] = talks.allocations;
  await written(nomad, id);
  const files = Object.fromEntries(
    awkwardNames.map((name) => [`alloc/data/${name}`, "a name\n"] as const),
  );
  return {
    Node: nodeId,
    Talker: { Alloc: id, Job: job, Group: "main", Task: "talk" },
    Files: {
      Alloc: id,
      Directory: "alloc/data",
      Path: "alloc/data/hello.txt",
      Large: "alloc/data/large.bin",
      Contents: {
        ...files,
        "alloc/data/hello.txt": "Hello from Nomad.\n",
        "alloc/data/empty.txt": "",
        "alloc/data/link.txt": "Hello from Nomad.\n",
      },
    },
    Done: { ...done, Alloc: await finished(nomad, `${job}-done`) },
    Ends: { Alloc: ends.allocations[0]?.id ?? "", Namespace: "default" },
    Service: "",
    Cluster: true,
  };
};

/* ---- what varies between two answers of Nomad itself ---- */

/** Figures of the moment, and where serai says its own address on purpose. */
const moving = new Set([
  "stats", "Stats", "HTTPAddr", "Metrics", "via", "ModTime",
]); // biome-ignore format: a list

const steadyText = (text: string): string =>
  text
    .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)/g, "{time}")
    .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, "{id}");

/** Samples: only their form is compared. */
const isOfSamples = (line: Json): boolean => isJsonObject(line) && line["call"] === "node stats";

const steady = (value: Json, samples: boolean, name = ""): Json => {
  if (Array.isArray(value)) return value.map((item) => steady(item, samples));
  if (typeof value === "object" && value !== null)
    return Object.fromEntries(
      Object.entries(value)
        .filter(([member]) => !moving.has(member))
        .map(([member, item]) => [member, steady(item, samples, member)]),
    );
  if (typeof value === "string") return steadyText(value);
  const isOfTheMoment = samples || /(Index|Time|At)$/.test(name) || Number(value) > 1e15;
  return isOfTheMoment && value !== null ? `a ${typeof value}` : value;
};

const toldBy = (output: string, { Talker }: Places): readonly JsonObject[] =>
  output
    .replaceAll(Talker.Job, "{job}")
    .trim()
    .split("\n")
    .map((line) => {
      const told = parseJson(line);
      const read = steady(told, isOfSamples(told));
      assert.ok(isJsonObject(read), line);
      return read;
    });

describe("programs of others", { skip: noNomad, timeout: 300_000 }, () => {
  let nomad: NomadCluster;
  let serai: Serai;
  let token = "";
  let directory: Directory;
  const stack = new AsyncDisposableStack();

  before(async () => {
    directory = stack.use(temporaryDirectory());
    nomad = stack.use(await startNomad({ servers: 1, clients: 1 }));
    token = await nomad.tokenWith("sdk", rules);
    const origins = nomad.servers.map(({ origin }) => origin);
    serai = stack.use(await startSerai(nomad, origins));
  });
  after(async () => {
    await stack.disposeAsync();
  });

  const urlOf = (side: Side): string =>
    side === "nomad" ? (nomad.servers[0]?.origin ?? "") : serai.url;

  const toldTo = async (
    { command, argv }: ClientProgram,
    side: Side,
    job: string,
  ): Promise<readonly JsonObject[]> => {
    const places = await placesOf(nomad, job);
    const program = run(command, argv(places, "show"), {
      env: { NOMAD_ADDR: urlOf(side), NOMAD_TOKEN: token },
    });
    await program.ended;
    assert.equal(program.stderr(), "");
    return toldBy(program.stdout(), places);
  };

  /** One after the other: a program collects what has ended on the whole node. */
  const compare = async (t: TestContext, name: string, program: ClientProgram): Promise<void> => {
    const beside = await toldTo(program, "nomad", `${name}-there`);
    const through = await toldTo(program, "serai", `${name}-through`);
    assert.deepEqual(
      through.map(({ call }) => call),
      beside.map(({ call }) => call),
    );
    for (const [at, said] of through.entries())
      await t.test(String(said["call"]), () => {
        assert.deepEqual(said, beside[at]);
        assert.equal(said["fault"], "");
      });
  };

  test("the official Go SDK", async (t) => {
    const program = goClient(t, directory.path);
    if (program !== undefined) await compare(t, "go", program);
  });

  test("python-nomad", async (t) => {
    const program = pythonClient(t, directory.path);
    if (program !== undefined) await compare(t, "python", program);
  });
});
