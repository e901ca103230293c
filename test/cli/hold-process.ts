/** One of many processes that want a directory at once: told when, it says whether it holds it or waits. */
import { holdDirectory } from "../../src/cli/hold.ts";

export interface Order {
  readonly directory: string;
  /** By the clock on the wall. */
  readonly atMs: number;
}

export interface Heard {
  readonly directory: string;
  readonly word: "holds" | "waits";
}

let over = new AbortController();
let release = (): void => undefined;

const want = async ({ directory, atMs }: Order): Promise<void> => {
  over.abort();
  over = new AbortController();
  const { signal: stopping } = over;
  release();
  release = () => undefined;
  while (Date.now() < atMs); // all are awake then
  const say = (word: Heard["word"]): void => void process.send?.({ directory, word });
  const taken = await holdDirectory(directory, { onWait: () => say("waits"), stopping });
  if (stopping.aborted) return;
  release = taken;
  say("holds");
};

process.on("message", (order: Order) => void want(order));
