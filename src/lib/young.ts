/**
 * V8 collects its young generation when JavaScript has filled it, however much hangs on what is in there: of the buffers that a stream
 * reads into, 25 MB come between two collections. They count in what begins a full one, which takes fifty times as long.
 */

/** Far less than the ten MB or so that V8 lets a small heap grow by until it begins a full collection. */
const mostBytes = 4 * 2 ** 20;

let bytes = 0;

/** So many bytes were in buffers of their own, and are not needed any more. Does nothing in a node without `--expose-gc`. */
export const letGo = (count: number): void => {
  bytes += count;
  if (bytes < mostBytes) return;
  bytes = 0;
  globalThis.gc?.({ type: "minor" });
};
