/** What node leaves to the user of an HTTP/2 stream: both ends of a tunnel see their streams through this. */
import type { Http2Stream } from "node:http2";
import { tinyBytes } from "./protocol.ts";

/** Of a DATA frame as node sends them: after one that is full, another will follow soon. */
const frameBytes = 16 * 1024;
/** Pieces that are handed on at once. */
const gatheredBytes = 4 * frameBytes;

interface Gathering {
  /** False when the reader has enough. */
  take(chunk: Buffer): boolean;
  /** Hands on what waits. */
  flush(): boolean;
}

/** Others follow a full frame soon, and a tiny one in a flood; what is between is the end of something. */
const waits = ({ length }: Buffer): boolean => length >= frameBytes || length < tinyBytes;

/**
 * Puts the frames of a long body together again, and those that carry next to nothing, within one turn of the loop: each piece
 * costs its reader a call of the HTTP parser and a system call to write it. What is short is handed on as it comes.
 */
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
      waiting.push(chunk);
      bytes += chunk.length;
      if (!waits(chunk) || bytes >= gatheredBytes) return flush();
      turn ??= setImmediate(flush);
      return true;
    },
    flush,
  };
};

/**
 * Counts a stream's bytes as they come, and keeps apart what node mixes: one that was reset ends with 'error' or 'close', as a
 * socket does, and never with 'end'.
 */
export const tapped = <Stream extends Http2Stream>(
  stream: Stream,
  counted: (bytes: number) => void,
): Stream => {
  const push = stream.push.bind(stream);
  const { take, flush } = gathering(push);
  stream.push = (chunk: Buffer | null) => {
    if (chunk !== null) {
      counted(chunk.length);
      return take(chunk);
    }
    flush();
    if (!stream.aborted && !stream.destroyed && stream.rstCode === 0) return push(null);
    process.nextTick(() => stream.destroy(new Error("reset"))); // node is in the midst of closing it
    return false;
  };
  return stream;
};
