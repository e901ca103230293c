/** What the agent answers, by route name, once the caller's right is known. */
import { writeEmpty, writeJson } from "../../answer.ts";
import { failed } from "../../errors.ts";
import { isJsonObject } from "../../lib/json.ts";
import {
  logsParameters,
  lsParameters,
  one,
  pathParameters,
  readAtParameters,
  streamParameters,
} from "../../parameters.ts";
import type { FileHandlers } from "../files/handlers.ts";
import { nomadVersion } from "../node-document.ts";
import type { AgentAllocation } from "../ports.ts";
import type { Ask, DoorNeeds } from "./ask.ts";

export type AllocationAnswer = (allocation: AgentAllocation, ask: Ask) => Promise<void>;
export type NodeAnswer = (ask: Ask) => Promise<void>;

const indexZero = { Index: 0 };
const enterpriseOnly = (): never => {
  throw failed("Enterprise only");
};

const json = (ask: Ask, document: unknown): void =>
  writeJson(ask.response, document, { pretty: ask.common.pretty });

const text = (ask: Ask, name: string): string => String(ask.body?.[name] ?? "");

const pretty = (ask: Ask): { readonly pretty: boolean } => ({ pretty: ask.common.pretty });

/** Parsed again with the route's own parser: it is the types' proof that each answer gets its own parameters. */
const fileAnswers = (files: FileHandlers): Readonly<Record<string, AllocationAnswer>> => ({
  "fs.ls": (of, ask) =>
    files["fs.ls"](of, lsParameters(ask.raw), ask.response, ask.signal, pretty(ask)),
  "fs.stat": (of, ask) =>
    files["fs.stat"](of, pathParameters(ask.raw), ask.response, ask.signal, pretty(ask)),
  "fs.cat": (of, ask) => files["fs.cat"](of, pathParameters(ask.raw), ask.response, ask.signal),
  "fs.readat": (of, ask) =>
    files["fs.readat"](of, readAtParameters(ask.raw), ask.response, ask.signal),
  "fs.stream": (of, ask) =>
    files["fs.stream"](of, streamParameters(ask.raw), ask.response, ask.signal),
  "fs.logs": (of, ask) => files["fs.logs"](of, logsParameters(ask.raw), ask.response, ask.signal),
});

export const allocationAnswers = (
  files: FileHandlers,
): Readonly<Record<string, AllocationAnswer>> => ({
  ...fileAnswers(files),
  "alloc.stats": async (allocation, ask) =>
    json(ask, allocation.usage(one(ask.raw, "task") || undefined)),
  "alloc.checks": async (allocation, ask) => json(ask, allocation.checks()),
  "alloc.restart": async (allocation, ask) => {
    const allTasks = ask.body?.["AllTasks"] === true;
    await allocation.restart({ taskName: text(ask, "TaskName"), allTasks });
    json(ask, indexZero);
  },
  "alloc.signal": async (allocation, ask) => {
    await allocation.signal(text(ask, "Signal"), text(ask, "Task"));
    json(ask, indexZero);
  },
  "alloc.gc": async (allocation, ask) => {
    await allocation.collect();
    writeEmpty(ask.response);
  },
  "alloc.stop": async (allocation, ask) => {
    await allocation.stop();
    json(ask, {});
  },
  "alloc.pause.get": async () => enterpriseOnly(),
  "alloc.pause.set": async () => enterpriseOnly(),
});

/** The agent described as far as clients read it: who it is and how many allocations it holds. */
const self = ({ node, workloads }: DoorNeeds): object => ({
  config: {
    Datacenter: node.datacenter,
    NodeName: node.name,
    Region: node.region,
    Version: { Version: nomadVersion, VersionMetadata: "", VersionPrerelease: "" },
  },
  member: { Name: node.name, Status: "none", Tags: {} },
  stats: {
    client: { node_id: node.id, num_allocations: String(workloads.allocations.length) },
  },
});

export const nodeAnswers = (needs: DoorNeeds): Readonly<Record<string, NodeAnswer>> => ({
  "client.metadata.get": async (ask) => json(ask, needs.metadata.read()),
  "client.metadata.post": async (ask) => {
    const meta = ask.body?.["Meta"];
    json(ask, await needs.metadata.apply(isJsonObject(meta) ? meta : {}));
  },
  "client.stats": async (ask) => json(ask, await needs.nodeStats()),
  "client.gc": async (ask) => {
    await needs.workloads.collectAll();
    writeEmpty(ask.response);
  },
  "agent.self": async (ask) => json(ask, self(needs)),
});
