/** What node leaves to the user of an HTTP/2 stream: both ends of a tunnel see their streams through this. */
import type { Http2Stream } from "node:http2";
import { tinyBytes } from "./protocol.ts";
import type { Vitals } from "./vitals.ts";

/** Pieces that are handed on at once. */
const gatheredBytes = 16 * 1024;

interface Gathering {
  /** False when the reader has enough. */
  take(chunk: Buffer): boolean;
  /** Hands on what waits. */
  flush(): boolean;
}

/** Joins the frames that carry next to nothing, within one turn of the loop: a flood of them would cost their reader as many calls. */
const gathering = (push: (chunk: Buffer) => boolean): Gathering => {
  let waiting: Buffer[] = [];
  let bytes = 0;
  let turn: NodeJS.Immediate | undefined;
  const flush = (): boolean => {
    clearImmediate(turn);
    turn = undefined;
    const [first, ...more] = waiting;
    waiting = [];
    bytes = 0;
    if (first === undefined) return true;
    return push(more.length === 0 ? first : Buffer.concat([first, ...more]));
  };
  return {
    take: (chunk) => {
      if (chunk.length >= tinyBytes && bytes === 0) return push(chunk);
      waiting.push(chunk);
      bytes += chunk.length;
      if (chunk.length >= tinyBytes || bytes >= gatheredBytes) return flush();
      turn ??= setImmediate(flush);
      return true;
    },
    flush,
  };
};

const reset = (): Error => Object.assign(new Error("reset"), { code: "ECONNRESET" });

/**
 * Counts a stream's bytes as they come, and keeps apart what node mixes: one that was reset ends with 'error' or 'close', as a
 * socket does, and never with 'end'.
 */
export const tapped = <Stream extends Http2Stream>(
  stream: Stream,
  { counted, abandoned }: Pick<Vitals, "counted" | "abandoned">,
): Stream => {
  const push = stream.push.bind(stream);
  const { take, flush } = gathering(push);
  let hasEnded = false;
  stream.push = (chunk: Buffer | null) => {
    if (chunk !== null) {
      counted(chunk.length);
      return take(chunk);
    }
    flush();
    if (stream.destroyed && !hasEnded) abandoned();
    hasEnded = true;
    if (!stream.aborted && !stream.destroyed && stream.rstCode === 0) return push(null);
    process.nextTick(() => stream.destroy(reset())); // node is in the midst of closing it
    return false;
  };
  return stream;
};
