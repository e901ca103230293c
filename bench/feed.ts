/**
 * The feed bench: a server by script gives 2,000,000 allocations on 6,000 nodes page by page, then 10,000 events a second;
 * memory, the longest stall of the loop and the cost of look-ups meanwhile. `--json` prints one JSON line at the end.
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type ServerResponse } from "node:http";
import { performance } from "node:perf_hooks";
import { setTimeout as delay } from "node:timers/promises";
import { systemClock } from "../src/lib/clock.ts";
import { parseJson } from "../src/lib/json.ts";
import { createServers } from "../src/nomad/servers.ts";
import type { Log } from "../src/ports.ts";
import { PackedDirectory } from "../src/registry/directory.ts";
import { readLine } from "../src/registry/nomad/documents.ts";
import { createNomadFeed } from "../src/registry/nomad/feed.ts";
import {
  allocationCount,
  lookUpNs,
  median,
  needGc,
  nodeCount,
  nodeId,
  placementOf,
  requests,
  settledRss,
  verdict,
} from "./index-workload.ts";
import { endTidily } from "./lib/tidy.ts";

endTidily();

const aims = { rssMb: 600, stallMs: 50, eventsPerSecond: 10_000, timesSlowerReads: 2 };
const eventSeconds = 8;
const tickMs = 10;
const heartbeatMs = 10_000;
/** Each tenth event, from the first on, is a node's; the last is an allocation's. */
const nodeEventEvery = 10;
const distinctEvents = 2_000;
const firstIndex = 1_000;
const listIndex = 500;
const lookups = 2_000;
const rounds = 40;

const documents = JSON.parse(
  readFileSync(new URL("../test/registry/nomad/documents.json", import.meta.url), "utf8"),
);

/** A document with holes: the parts between what each item says of itself. */
const splitAt = (document: object, marks: readonly string[]): readonly string[] =>
  JSON.stringify({
    ...document,
    ...Object.fromEntries(marks.map((mark) => [mark, `@${mark}@`])),
  }).split(/@\w+@/);

const allocationMarks = ["ID", "Namespace", "NodeID", "JobID", "TaskGroup", "ClientStatus"];

const fill = (document: object): ((number: number) => string) => {
  const order = Object.keys(document).filter((key) => allocationMarks.includes(key));
  const parts = splitAt(document, order);
  return (number) => {
    const { id, namespace, nodeId: node, jobId, taskGroup } = placementOf(number);
    const values: Record<string, string> = {
      ID: id,
      Namespace: namespace,
      NodeID: node,
      JobID: jobId,
      TaskGroup: taskGroup,
      ClientStatus: "running",
    };
    return parts
      .map((part, at) => (at === 0 ? part : (values[order[at - 1] ?? ""] ?? "") + part))
      .join("");
  };
};

/* ---- the server, in a process of its own ---- */

const serve = (): void => {
  const stub = fill(documents.allocationStub);
  const allocation = fill(documents.allocation);
  const nodeStub = JSON.stringify({ ...documents.nodeStub, ID: "@" }).split("@");
  const nodeParts = JSON.stringify({ ...documents.node, ID: "@" }).split("@");
  let stream: ServerResponse | undefined;
  const list = (
    response: ServerResponse,
    query: URLSearchParams,
    total: number,
    item: (number: number) => string,
  ): void => {
    const start = Number(query.get("next_token") ?? 0);
    const end = Math.min(total, start + Number(query.get("per_page")));
    const items: string[] = [];
    for (let number = start; number < end; number++) items.push(item(number));
    const next = end < total ? { "x-nomad-nexttoken": String(end) } : {};
    response
      .writeHead(200, { "x-nomad-index": String(listIndex), ...next })
      .end(`[${items.join(",")}]`);
  };
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://source");
    if (pathname === "/v1/allocations") list(response, searchParams, allocationCount, stub);
    else if (pathname === "/v1/nodes")
      list(response, searchParams, nodeCount, (number) => nodeStub.join(nodeId(number)));
    else {
      response.removeHeader("transfer-encoding");
      response.writeHead(200, { connection: "close" }).write("{}\n");
      stream = response;
      const beat = setInterval(() => response.write("{}\n"), heartbeatMs);
      response.once("close", () => clearInterval(beat));
    }
  });
  const tails = Array.from({ length: distinctEvents }, (_, number) => {
    if (number % nodeEventEvery === 0)
      return `"Payload":{"Node":${nodeParts.join(nodeId(number))}}}]}\n`;
    return `"Payload":{"Allocation":${allocation(allocationCount + number)}}}]}\n`;
  });
  const event = (number: number): string => {
    const index = firstIndex + number;
    const topic = number % nodeEventEvery === 0 ? "Node" : "Allocation";
    return `{"Index":${index},"Events":[{"Topic":"${topic}","Type":"AllocationUpdated","Key":"","Namespace":"default","FilterKeys":null,"Index":${index},${tails[number % distinctEvents] ?? ""}`;
  };
  const emit = async (): Promise<void> => {
    const total = aims.eventsPerSecond * eventSeconds;
    const started = performance.now();
    for (let sent = 0; sent < total; ) {
      const due = Math.min(total, ((performance.now() - started) / 1_000) * aims.eventsPerSecond);
      let text = "";
      for (; sent < due; sent++) text += event(sent);
      if (text !== "" && stream?.write(text) === false) await once(stream, "drain");
      await delay(tickMs);
    }
    process.send?.({ sentMs: performance.now() - started });
  };
  process.on("message", () => void emit());
  process.once("disconnect", () => process.exit());
  server.listen(0, "127.0.0.1", () => {
    const address = server.address();
    process.send?.({ port: typeof address === "object" ? address?.port : 0 });
  });
};

/* ---- the feed ---- */

const silent: Log = { debug: () => {}, info: () => {}, warn: console.warn, error: console.error };

/** Look-ups out of requests that were made before: their bytes are no part of what is measured. */
const prepared = Array.from({ length: rounds }, (_, round) => requests(lookups, round));

const readNs = (directory: PackedDirectory, round: number): number => {
  const batch = prepared[round % rounds];
  if (!batch) throw new Error("no requests");
  return lookUpNs(directory, batch);
};

interface Watched {
  /** The longest that the loop did not turn, as the clock has it: other processes' turns on the core included. */
  readonly stallMs: number;
  /** The most of a core that was used at a stretch: our own part of it. */
  readonly ownStallMs: number;
  readonly peakMb: number;
  readonly cpuSeconds: number;
}

const cpuMs = (): number => {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
};

const watch = (): { readonly end: () => Watched } => {
  const before = process.cpuUsage();
  let peak = 0;
  let stallMs = 0;
  let ownStallMs = 0;
  let wall = performance.now();
  let cpu = cpuMs();
  const tick = setInterval(() => {
    const wallNow = performance.now();
    const cpuNow = cpuMs();
    stallMs = Math.max(stallMs, wallNow - wall);
    ownStallMs = Math.max(ownStallMs, cpuNow - cpu);
    wall = wallNow;
    cpu = cpuNow;
    peak = Math.max(peak, process.memoryUsage.rss());
  }, 1);
  return {
    end: () => {
      clearInterval(tick);
      const { user, system } = process.cpuUsage(before);
      return {
        stallMs: Number(stallMs.toFixed(1)),
        ownStallMs: Number(ownStallMs.toFixed(1)),
        peakMb: Math.round(peak / 1e6),
        cpuSeconds: Number(((user + system) / 1e6).toFixed(1)),
      };
    },
  };
};

const until = async (condition: () => boolean): Promise<void> => {
  const deadline = performance.now() + 240_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error("the bench takes too long");
    await delay(5);
  }
};

/** The cost of one event's line, read by the cursor, by JSON.parse and by the parser that keeps integers whole. */
const readingCosts = (): { readonly [way: string]: number } => {
  const line = Buffer.from(
    `{"Index":7,"Events":[{"Topic":"Allocation","Type":"AllocationUpdated","Key":"","Namespace":"default","FilterKeys":null,"Index":7,"Payload":{"Allocation":${fill(documents.allocation)(1)}}}]}`,
  );
  const cost = (read: () => unknown): number => {
    const rounds: number[] = [];
    for (let round = 0; round < 9; round++) {
      const started = performance.now();
      for (let count = 0; count < 300; count++) read();
      rounds.push((performance.now() - started) / 0.3);
    }
    return Number(median(rounds.slice(2)).toFixed(1));
  };
  return {
    lineBytes: line.length,
    cursorUs: cost(() => [...readLine(line)]),
    jsonParseUs: cost(() => JSON.parse(line.toString())),
    losslessUs: cost(() => parseJson(line.toString())),
  };
};

const startSource = async (): Promise<{ readonly source: ChildProcess; readonly port: number }> => {
  const source = fork(import.meta.filename, ["source"]);
  const [{ port }] = await once(source, "message");
  return { source, port };
};

const run = async (): Promise<void> => {
  needGc("bench:feed");
  const costs = readingCosts();
  const emptyRss = settledRss();
  const { source, port } = await startSource();
  const addresses = [`http://127.0.0.1:${port}`];
  const servers = createServers({ addresses, connectTimeoutMs: 1_000, tls: undefined });
  const feed = createNomadFeed(
    { clock: systemClock, log: silent, servers },
    { token: () => undefined },
  );
  const directory = new PackedDirectory({ clock: systemClock, feed });

  const syncing = watch();
  const started = performance.now();
  feed.follow(directory);
  await until(() => feed.state === "ready");
  const syncSeconds = (performance.now() - started) / 1_000;
  const sync = syncing.end();
  const { allocations } = directory.size;
  const rss = settledRss();

  const quiet = Array.from({ length: rounds }, (_, round) => readNs(directory, round)).slice(2);
  const total = aims.eventsPerSecond * eventSeconds;
  // node events that change nothing move no index: the last allocation's does
  const last = firstIndex + total - 1;
  const busy: number[] = [];
  const streaming = watch();
  const streamed = performance.now();
  const sent = once(source, "message");
  source.send("emit");
  for (let round = 0; feed.index < last; round++) {
    await delay(50);
    busy.push(readNs(directory, round));
    if (performance.now() - streamed > 90_000) throw new Error("the events do not come");
  }
  const seconds = (performance.now() - streamed) / 1_000;
  const events = streaming.end();
  const [{ sentMs }] = await sent;

  await feed.close(AbortSignal.timeout(1_000));
  await servers.close(AbortSignal.timeout(1_000));
  directory.close();
  source.disconnect();

  const figures = {
    allocations,
    nodes: directory.size.nodes,
    syncSeconds: Number(syncSeconds.toFixed(1)),
    syncCpuSeconds: sync.cpuSeconds,
    syncStallMs: sync.stallMs,
    syncOwnStallMs: sync.ownStallMs,
    syncPeakMb: sync.peakMb,
    rssMb: Math.round(rss / 1e6),
    emptyRssMb: Math.round(emptyRss / 1e6),
    eventsPerSecond: Math.round(total / seconds),
    sentSeconds: Number((Number(sentMs) / 1_000).toFixed(1)),
    eventCpuUs: Math.round((events.cpuSeconds * 1e6) / total),
    eventsPerCore: Math.round(total / events.cpuSeconds),
    eventStallMs: events.stallMs,
    eventOwnStallMs: events.ownStallMs,
    lookupNs: Math.round(median(quiet)),
    lookupNsBesideEvents: Math.round(median(busy)),
    ...costs,
  };
  console.log(`sync                  ${figures.allocations} allocations on ${figures.nodes} nodes in ${figures.syncSeconds} s (${figures.syncCpuSeconds} s of a core here, the rest in the source)
memory (RSS)          peak ${figures.syncPeakMb} MB, then ${figures.rssMb} MB (process alone ${figures.emptyRssMb} MB)   aim < ${aims.rssMb} MB: ${verdict(figures.syncPeakMb < aims.rssMb)}
longest stall, sync   ${figures.syncOwnStallMs} ms of our own, ${figures.syncStallMs} ms by the clock   aim <= ${aims.stallMs} ms: ${verdict(figures.syncOwnStallMs <= aims.stallMs)}
events                ${figures.eventsPerSecond} a second came (sent in ${figures.sentSeconds} s); ${figures.eventCpuUs} us of a core each, reads included, so one core takes ${figures.eventsPerCore} a second   aim ${aims.eventsPerSecond}: ${verdict(figures.eventsPerCore >= aims.eventsPerSecond)}
longest stall, events ${figures.eventOwnStallMs} ms of our own, ${figures.eventStallMs} ms by the clock   aim <= ${aims.stallMs} ms: ${verdict(figures.eventOwnStallMs <= aims.stallMs)}
look-up, random id    ${figures.lookupNs} ns alone, ${figures.lookupNsBesideEvents} ns beside the events   aim <= ${aims.timesSlowerReads} times: ${verdict(figures.lookupNsBesideEvents <= aims.timesSlowerReads * figures.lookupNs)}
one event's line      ${costs["lineBytes"]} bytes: ${costs["cursorUs"]} us by the cursor, ${costs["jsonParseUs"]} us by JSON.parse, ${costs["losslessUs"]} us by the lossless parser`);
  if (process.argv.includes("--json")) console.log(JSON.stringify(figures));
};

if (process.argv[2] === "source") serve();
else await run();
