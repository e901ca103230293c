/** The index bench's other side, in a process of its own: lru-cache holding the same allocations. */
import { LRUCache } from "lru-cache";
import { allocationCount, idAt, placementOf, requests, settledRss } from "./index-workload.ts";

const shared = new Map<string, object>();
const cache = new LRUCache<string, object>({ max: allocationCount });
for (let number = 0; number < allocationCount; number++) {
  const { id, ...placement } = placementOf(number);
  const key = JSON.stringify([placement.nodeId, placement.jobId]);
  // Placements are shared where allocations agree, to be as sparing as the directory.
  const held = shared.get(key) ?? placement;
  shared.set(key, held);
  cache.set(id, held);
}
shared.clear();

process.send?.({ rss: settledRss() });

process.on("message", ({ count, round }: { count: number; round: number }) => {
  const { bytes, offsets } = requests(count, round);
  let found = 0;
  const started = process.hrtime.bigint();
  for (const offset of offsets) if (cache.get(idAt(bytes, offset)) !== undefined) found++;
  const took = Number(process.hrtime.bigint() - started);
  process.send?.({ nanoseconds: took / count, found });
});
