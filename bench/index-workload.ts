/** What both sides of the index bench hold and look up: the same allocations and the same requests, made from numbers. */
import type { PackedDirectory } from "../src/registry/directory.ts";

export const allocationCount = 2_000_000;
export const nodeCount = 6_000;
const jobCount = 400;
/** Kinds of jobs that one node runs: as many placements are shared as in a usual fleet. */
const jobsOfNode = 16;

/** Murmur3's finalizer: spreads a number over 32 bits. */
const spread = (value: number): number => {
  let hash = value | 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
};

const hex8 = (value: number): string => value.toString(16).padStart(8, "0");

const uuid = (number: number, kind: number): string => {
  const words = [1, 2, 3, 4].map((word) =>
    hex8(spread(Math.imul(number, 0x9e3779b1) ^ (word * kind))),
  );
  const hex = words.join("");
  const id = `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
  return Buffer.from(id, "latin1").toString("latin1"); // flat and of its own, as a parser gives it
};

export const allocationId = (number: number): string => uuid(number, 0x01000193);
export const nodeId = (number: number): string => uuid(number, 0x7feb352d);

export const placementOf = (number: number) => {
  const node = spread(number) % nodeCount;
  const job = (node * 7 + (spread(number ^ 0x5bd1e995) % jobsOfNode)) % jobCount;
  return {
    id: allocationId(number),
    nodeId: nodeId(node),
    namespace: "default",
    jobId: `service-${job}`,
    taskGroup: "web",
    terminal: undefined,
  };
};

export interface Requests {
  readonly bytes: Buffer;
  /** Where each request's id starts. */
  readonly offsets: Int32Array;
}

const before = "GET /v1/client/fs/ls/";
const after = "?path=/ HTTP/1.1\r\nHost: gate\r\n\r\n";

/** Requests for random allocations, one behind the other as a socket's reads would hold them. */
export const requests = (count: number, round: number): Requests => {
  const length = before.length + 36 + after.length;
  const bytes = Buffer.alloc(length * count);
  const offsets = new Int32Array(count);
  for (let index = 0; index < count; index++) {
    const id = allocationId(spread(index * 31 + round * 7_919 + 1) % allocationCount);
    bytes.write(before + id + after, index * length, "latin1");
    offsets[index] = index * length + before.length;
  }
  return { bytes, offsets };
};

/** The id at that place, as a request's first line gives it. */
export const idAt = (bytes: Buffer, offset: number): string =>
  bytes.toString("latin1", offset, offset + 36);

/** Nanoseconds a look-up, out of the requests' bytes; all of them have to be found. */
export const lookUpNs = (directory: PackedDirectory, { bytes, offsets }: Requests): number => {
  let found = 0;
  const started = process.hrtime.bigint();
  for (const offset of offsets)
    if (directory.allocation(idAt(bytes, offset)) !== undefined) found++;
  const took = Number(process.hrtime.bigint() - started);
  if (found !== offsets.length) throw new Error("an allocation is missing");
  return took / offsets.length;
};

export const verdict = (met: boolean): string => (met ? "met" : "MISSED");

/** Ends the process where garbage cannot be collected before memory is read. */
export const needGc = (script: string): void => {
  if (globalThis.gc !== undefined) return;
  console.error(`run it with --expose-gc (npm run ${script})`);
  process.exit(2);
};

export const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

/** Resident memory after collection, in bytes. */
export const settledRss = (): number => {
  for (let pass = 0; pass < 4; pass++) globalThis.gc?.();
  return process.memoryUsage().rss;
};
