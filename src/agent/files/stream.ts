/** `fs.stream`: one file in frames, to its end now or as it grows (nomad-http.md §8.4). */
import type { ServerResponse } from "node:http";
import type { StreamParameters } from "../../parameters.ts";
import { type Content, type FilesOf, openContent } from "./content.ts";
import { PathFault } from "./fault.ts";
import { isGone, isShorter, type Shared, sendHead, streamHead } from "./follow.ts";
import { Bell, Life } from "./life.ts";
import { frameSink } from "./sinks.ts";
import { Tail } from "./tail.ts";

const textType = "text/plain; charset=utf-8";
const farthest = BigInt(Number.MAX_SAFE_INTEGER);

/** From the end: so many bytes before it, at the earliest the beginning. */
const startOf = ({ stats, host }: Content, { origin, offset }: StreamParameters): number => {
  const start = origin === "start" ? offset : stats.size - offset;
  if (origin === "start" && start < 0n) throw new PathFault({ kind: "seek", offset, host });
  if (start < 0n) return 0;
  return Number(start < farthest ? start : farthest);
};

const follow = async (tail: Tail, content: Content, shared: Shared, life: Life): Promise<void> => {
  const bell = new Bell();
  let gone = false;
  const unwatch = shared.files.watch(content.host, (seen) => {
    gone = isGone(seen, content);
    if (!gone && isShorter(seen, tail)) tail.look().then(bell.ring, bell.ring);
    bell.ring();
  });
  life.onEnd(bell.ring);
  try {
    for (;;) {
      const wasGone = gone; // before the drain: what was written until then is sent first
      if (!(await tail.drain())) return;
      if (wasGone) {
        await tail.tell("file deleted");
        return;
      }
      await bell.heard();
    }
  } finally {
    unwatch();
  }
};

/** Streams a file; throws PathFault before the head, and whatever reading throws after it. */
export const stream = async (
  allocation: FilesOf,
  parameters: StreamParameters,
  response: ServerResponse,
  signal: AbortSignal,
  shared: Shared,
): Promise<void> => {
  using life = new Life(response, signal);
  await using content = await openContent(allocation, parameters.path);
  const start = startOf(content, parameters);
  const head = streamHead(textType);
  if (parameters.follow || response.req.method === "HEAD") sendHead(response, head);
  if (response.req.method === "HEAD") {
    response.end();
    return;
  }
  const tail = new Tail({
    handle: content.handle,
    file: parameters.path,
    start,
    size: Number(content.stats.size),
    follow: parameters.follow,
    sink: frameSink(response, life, head),
    life,
  });
  const rest = shared.heartbeats(response);
  try {
    if (parameters.follow) await follow(tail, content, shared, life);
    else await tail.drain();
  } finally {
    rest();
  }
  if (!life.over) response.end();
};
