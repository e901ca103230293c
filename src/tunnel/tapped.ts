/** What node leaves to the user of an HTTP/2 stream: both ends of a tunnel see their streams through this. */
import type { Http2Stream } from "node:http2";

/**
 * Counts a stream's bytes as they come, and keeps apart what node mixes: one that was reset ends with 'error' or 'close', as a
 * socket does, and never with 'end'.
 */
export const tapped = <Stream extends Http2Stream>(
  stream: Stream,
  counted: (bytes: number) => void,
): Stream => {
  const push = stream.push.bind(stream);
  stream.push = (chunk: Buffer | null) => {
    if (chunk !== null) {
      counted(chunk.length);
      return push(chunk);
    }
    if (!stream.aborted && !stream.destroyed && stream.rstCode === 0) return push(null);
    process.nextTick(() => stream.destroy(new Error("reset"))); // node is in the midst of closing it
    return false;
  };
  return stream;
};
