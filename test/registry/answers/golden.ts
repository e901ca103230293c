/** The recorded answers of a Nomad 2.0.5 server, and registries made of the documents in them. */
import { readFileSync } from "node:fs";
import type { AllocationDocument, NodeDocument } from "../../../src/documents.ts";
import { isJsonObject, type Json, type JsonObject, parseJson } from "../../../src/lib/json.ts";
import { MemoryRegistry } from "./memory-registry.ts";

export interface GoldenCase {
  readonly name: string;
  readonly request: {
    readonly method: string;
    readonly path: string;
    readonly query?: string;
    readonly headers?: readonly (readonly [string, string])[];
    readonly body?: string;
  };
  readonly response: {
    readonly status: number;
    readonly headers: readonly (readonly [string, string])[];
    readonly body?: string;
    readonly body_same_as?: { readonly name: string };
    readonly chunks?: readonly { readonly data?: string }[];
  };
}

const load = (file: string): readonly GoldenCase[] =>
  readFileSync(new URL(file, import.meta.url), "utf8")
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line)); // a fixture: its form is that of the type

export const servers = load("servers.ndjson");
export const companions = load("companions.ndjson");

/** A case's whole body, also when it is that of another or came in chunks that were kept. */
export const bodyOf = (cases: readonly GoldenCase[], one: GoldenCase): string | undefined => {
  const { body, body_same_as, chunks } = one.response;
  if (body !== undefined) return body;
  if (chunks !== undefined) {
    const data = chunks.map((chunk) => chunk.data);
    return data.every((part) => part !== undefined) ? data.join("") : undefined;
  }
  const same = cases.find(({ name }) => name === body_same_as?.name);
  return same === undefined ? undefined : bodyOf(cases, same);
};

const documentOf = (cases: readonly GoldenCase[], name: string): Json => {
  const found = cases.find((one) => one.name === name);
  const body = found && bodyOf(cases, found);
  if (body === undefined) throw new Error(`no body for ${name}`);
  return parseJson(body);
};

const objectOf = (value: Json | undefined): JsonObject => {
  if (!isJsonObject(value)) throw new Error("a document was expected");
  return value;
};

const objectsOf = (value: Json): readonly JsonObject[] => {
  if (!Array.isArray(value)) throw new Error("a list was expected");
  return value.map(objectOf);
};

const listOf = (cases: readonly GoldenCase[], name: string): readonly JsonObject[] =>
  objectsOf(documentOf(cases, name));

const byId = (documents: readonly JsonObject[]): ReadonlyMap<unknown, JsonObject> =>
  new Map(documents.map((one) => [one["ID"], one]));

/** The one place where a recorded document is taken for what its type says. */
const asAllocation = (document: JsonObject): AllocationDocument => document as never;
const asNode = (document: object): NodeDocument => document as never;

const jobOfStub = (stub: JsonObject): JsonObject => ({
  ID: stub["JobID"] ?? "",
  Name: stub["JobID"] ?? "",
  Namespace: stub["Namespace"] ?? "",
  Type: stub["JobType"] ?? "",
  Version: stub["JobVersion"] ?? 0,
  TaskGroups: [{ Name: stub["TaskGroup"] ?? "", Tasks: [] }],
});

/** Nodes as they were listed, completed from the first of the documents that were read or the one of their own. */
const nodesOf = (
  stubs: readonly JsonObject[],
  documents: readonly JsonObject[],
): readonly NodeDocument[] => {
  const own = byId(documents);
  return stubs.map((stub) =>
    asNode({
      ...documents[0],
      Meta: {},
      ...(own.get(stub["ID"]) ?? { ...stub, Attributes: documents[0]?.["Attributes"] ?? {} }),
      NodeResources: own.get(stub["ID"])?.["NodeResources"] ?? null,
      HTTPAddr: `${String(stub["Address"])}:4646`,
      SecretID: "a secret",
    }),
  );
};

export const serversRegistry = (): MemoryRegistry => {
  const stubs = [
    ...listOf(servers, "allocations: without task states"),
    ...listOf(servers, "allocations: namespace=*, management").filter(
      ({ Namespace }) => Namespace === "golden-b",
    ),
  ];
  const stated = byId(listOf(servers, "allocations: namespace golden"));
  const resources = byId(listOf(servers, "allocations: resources"));
  const read = byId([
    objectOf(documentOf(servers, "allocation: running service")),
    objectOf(documentOf(servers, "allocation: dead batch (64-bit times as raw text)")),
  ]);
  const web = objectOf(documentOf(servers, "allocation: running service"));
  const allocations = stubs.map((stub) =>
    asAllocation({
      ...stub,
      Job: jobOfStub(stub),
      TaskStates:
        stated.get(stub["ID"])?.["TaskStates"] ??
        (stub["JobID"] === "golden-web3" ? (web["TaskStates"] ?? null) : { t: { State: "dead" } }),
      AllocatedResources: resources.get(stub["ID"])?.["AllocatedResources"] ?? null,
      ...read.get(stub["ID"]),
    }),
  );
  const nodes = nodesOf(listOf(servers, "nodes: list"), [
    objectOf(documentOf(servers, "node: read")),
    objectOf(documentOf(servers, "node: index in the future, wait=1s")),
  ]);
  const indexes = { allocs: 1081, nodes: 1081, evals: 1081 };
  return new MemoryRegistry({ allocations, nodes, evaluations: [], indexes });
};

const clientStatuses = [
  ["Complete", "complete"],
  ["Running", "running"],
] as const;

/** Allocations as a job's summary counts them. */
const allocationsOfJob = (stub: JsonObject, job: JsonObject): readonly AllocationDocument[] => {
  const summary = objectOf(objectOf(objectOf(stub["JobSummary"])["Summary"])["g"]);
  return clientStatuses.flatMap(([column, ClientStatus], i) =>
    Array.from({ length: Number(summary[column]) }, (_, n) =>
      asAllocation({
        ID: `${Buffer.from(String(stub["ID"])).toString("hex")}000${i}-0000-4000-8000-00000000000${n}`,
        Namespace: stub["Namespace"] ?? "",
        JobID: stub["ID"] ?? "",
        Job: job,
        TaskGroup: "g",
        ClientStatus,
        CreateIndex: stub["CreateIndex"] ?? 0,
        ModifyIndex: objectOf(stub["JobSummary"])["ModifyIndex"] ?? 0,
      }),
    ),
  );
};

export const companionsRegistry = (): MemoryRegistry => {
  const perf = listOf(companions, "node allocations: one running");
  const [b2 = {}, s2 = {}] = listOf(companions, "jobs: every namespace");
  const allocations = [
    ...perf.map(asAllocation),
    ...allocationsOfJob(b2, {
      ...b2,
      Periodic: null,
      ParameterizedJob: null,
      TaskGroups: [{ Name: "g" }],
    }),
    ...allocationsOfJob(s2, objectOf(documentOf(companions, "job: other namespace"))),
  ];
  const stubs = [
    ...listOf(companions, "nodes: first page"),
    ...listOf(companions, "nodes: second page"),
  ];
  const nodes = nodesOf(stubs, [objectOf(documentOf(companions, "node: upper-case id"))]);
  const [listed = {}] = listOf(companions, "evaluations: list");
  const evaluations = [
    ...listOf(companions, "job evaluations").toReversed(),
    ...listOf(companions, "evaluations: list"),
    { ...listed, ID: "f1ec154c-b48b-d31f-f327-ae66bcc0753f", CreateIndex: 1285 }, // named by the page's token
  ];
  const indexes = { allocs: 1927, nodes: 1927, evals: 1932 };
  return new MemoryRegistry({ allocations, nodes, evaluations, indexes });
};
