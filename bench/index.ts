/**
 * The index bench: 2,000,000 allocations on 6,000 nodes in the packed directory, its memory and the cost of a look-up out
 * of a request's bytes beside lru-cache's, and what changes do to reads. `--json` prints one JSON line at the end.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { performance } from "node:perf_hooks";
import { PackedDirectory } from "../src/registry/directory.ts";
import type { Change } from "../src/registry/feed.ts";
import {
  allocationCount,
  idAt,
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

const rounds = 9;
const lookups = 50_000;
const aims = { rssMb: 300, ratio: 0.5, stallMs: 50 };

needGc("bench:index");

const clock = { now: Date.now, monotonic: () => performance.now() };
const directory = new PackedDirectory({
  clock,
  feed: { state: "ready", lookup: () => Promise.resolve(undefined) },
});

const nodes = (): Change[] =>
  Array.from({ length: nodeCount }, (_, number) => ({
    kind: "node" as const,
    node: {
      id: nodeId(number),
      name: `client-${number}`,
      status: "ready" as const,
      address: `10.${number >> 8}.${number & 255}.1:4646`,
      tls: false,
    },
  }));

const allocation = (number: number): Change => ({
  kind: "allocation",
  placement: placementOf(number),
});

/** Takes the whole picture in; the longest single insert shows the worst stall by growing. */
const fill = (): { readonly seconds: number; readonly stallMs: number } => {
  let stallMs = 0;
  let inserting = 0;
  directory.begin("start");
  directory.apply(1, nodes());
  for (let number = 0; number < allocationCount; number++) {
    const change = [allocation(number)];
    const started = performance.now();
    directory.apply(1, change);
    const took = performance.now() - started;
    inserting += took;
    stallMs = Math.max(stallMs, took);
  }
  const started = performance.now();
  directory.complete(1);
  stallMs = Math.max(stallMs, performance.now() - started);
  return { seconds: inserting / 1_000, stallMs };
};

/** Allocations come and go by the thousand between reads; returns changes a second and the cost of reads meanwhile. */
const churnRound = (round: number): { readonly perSecond: number; readonly readNs: number } => {
  const { bytes, offsets } = requests(lookups, round);
  const batch = 500;
  let changing = 0;
  let reading = 0;
  let changed = 0;
  for (let start = 0; start < lookups; start += batch * 2) {
    const fresh = allocationCount + round * lookups + start;
    const born = Array.from({ length: batch }, (_, index) => allocation(fresh + index));
    const gone = born.map(
      (change): Change => ({
        kind: "allocation_gone",
        id: change.kind === "allocation" ? change.placement.id : "",
      }),
    );
    let began = performance.now();
    directory.apply(2, born);
    directory.apply(3, gone);
    changing += performance.now() - began;
    changed += batch * 2;
    began = performance.now();
    for (let index = start; index < start + batch * 2; index++)
      directory.allocation(idAt(bytes, offsets[index] ?? 0));
    reading += performance.now() - began;
  }
  return { perSecond: changed / (changing / 1_000), readNs: (reading * 1e6) / lookups };
};

type Reply = { readonly rss: number; readonly nanoseconds: number; readonly found: number };

const empty = settledRss();
const { seconds, stallMs } = fill();
const rss = settledRss();

const lru = fork(new URL("index-lru.ts", import.meta.url), { execArgv: ["--expose-gc"] });
const reply = async (): Promise<Reply> => {
  const [message] = await once(lru, "message");
  return message;
};
const { rss: lruRss } = await reply();

const ours: number[] = [];
const theirs: number[] = [];
const perSecond: number[] = [];
const churnedNs: number[] = [];
for (let round = 0; round < rounds + 2; round++) {
  const mine = lookUpNs(directory, requests(lookups, round));
  lru.send({ count: lookups, round });
  const other = await reply();
  if (other.found !== lookups) throw new Error("an allocation is missing");
  const churned = churnRound(round);
  if (round < 2) continue; // the first rounds warm up
  ours.push(mine);
  theirs.push(other.nanoseconds);
  perSecond.push(churned.perSecond);
  churnedNs.push(churned.readNs);
}
lru.disconnect();
directory.close();

const megabytes = (bytes: number): number => Math.round(bytes / 1e6);
const figures = {
  allocations: directory.size.allocations,
  nodes: directory.size.nodes,
  rssMb: megabytes(rss),
  emptyRssMb: megabytes(empty),
  lruRssMb: megabytes(lruRss),
  lookupNs: Math.round(median(ours)),
  lruLookupNs: Math.round(median(theirs)),
  ratio: Number((median(ours) / median(theirs)).toFixed(2)),
  insertsPerSecond: Math.round(allocationCount / seconds),
  longestInsertMs: Number(stallMs.toFixed(1)),
  changesPerSecond: Math.round(median(perSecond)),
  lookupNsBesideChanges: Math.round(median(churnedNs)),
};
console.log(`allocations           ${figures.allocations} on ${figures.nodes} nodes
memory (RSS)          ${figures.rssMb} MB (process alone ${figures.emptyRssMb} MB, lru-cache ${figures.lruRssMb} MB)   aim < ${aims.rssMb} MB: ${verdict(figures.rssMb < aims.rssMb)}
look-up, random id    ${figures.lookupNs} ns (lru-cache ${figures.lruLookupNs} ns), ratio ${figures.ratio}   aim <= ${aims.ratio}: ${verdict(figures.ratio <= aims.ratio)}
fill                  ${figures.insertsPerSecond} inserts/s, longest stall ${figures.longestInsertMs} ms   aim <= ${aims.stallMs} ms: ${verdict(figures.longestInsertMs <= aims.stallMs)}
changes               ${figures.changesPerSecond} changes/s; a look-up between them ${figures.lookupNsBesideChanges} ns
(medians of ${rounds} rounds of ${lookups} look-ups, both sides in turn)`);
if (process.argv.includes("--json")) console.log(JSON.stringify(figures));
