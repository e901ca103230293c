/**
 * Viewers of followed logs, in a process of their own: each opens a socket, asks, and reads whatever comes. Their parent sends an
 * order and is told when all have their head, each that was refused or cut, and, for each `watch` that it sends, what they saw.
 */
import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";

const order = z.object({
  port: z.number(),
  token: z.string(),
  allocations: z.array(z.string()),
});
export type ViewersOrder = z.output<typeof order>;
const watch = z.object({ watchMs: z.number() });

/** What viewers saw within some time. */
export interface Watched {
  /** Between two pieces of one viewer's answer. */
  readonly largestGapMs: number;
  readonly p99GapMs: number;
  readonly pieces: number;
}

process.once("disconnect", () => process.exit());
const [ordered] = await once(process, "message");
const { port, token, allocations } = order.parse(ordered);
const openAtOnce = 32;
const mostTries = 10;
const againMs = 1_000;
/** One viewer in so many is looked at. */
const sampleEvery = 30;

const shared = Buffer.allocUnsafeSlow(64 * 1024);
let gaps: number[] = [];
let pieces = 0;

/** Resolves with the answer's head. What comes is read into memory that all of them share. */
const view = (allocation: string, nth: number): Promise<void> =>
  new Promise((resolve, reject) => {
    let hasHead = false;
    let isOpen = false;
    let lastMs = 0;
    const isSampled = nth % sampleEvery === 0;
    const came = (bytes: Buffer): void => {
      if (!hasHead) {
        hasHead = true;
        const head = bytes.toString("latin1");
        isOpen = head.startsWith("HTTP/1.1 200");
        if (isOpen) resolve();
        else socket.destroy(new Error(head));
      }
      pieces += 1;
      if (!isSampled) return;
      const nowMs = performance.now();
      if (lastMs > 0) gaps.push(nowMs - lastMs);
      lastMs = nowMs;
    };
    const socket = connect({
      host: "127.0.0.1",
      port,
      onread: {
        buffer: shared,
        callback: (count) => {
          came(shared.subarray(0, count));
          return true;
        },
      },
    });
    socket.on("error", reject);
    socket.once("close", () => {
      if (isOpen) process.send?.({ lost: "cut" });
      else reject(new Error("no answer"));
    });
    socket.write(
      `GET /v1/client/fs/logs/${allocation}?task=server&type=stdout&follow=true&origin=end HTTP/1.1\r\nHost: crowd\r\nX-Nomad-Token: ${token}\r\n\r\n`,
    );
  });

const seen = (): Watched => {
  const sorted = gaps.toSorted((a, b) => a - b);
  return {
    largestGapMs: sorted.at(-1) ?? Number.NaN,
    p99GapMs: sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN,
    pieces,
  };
};

process.on("message", (message) => {
  const { watchMs } = watch.parse(message);
  gaps = [];
  pieces = 0;
  setTimeout(() => process.send?.({ watched: seen() }), watchMs);
});

/** As a viewer does that is told to come again. */
const viewAtLast = async (allocation: string, nth: number, tries = mostTries): Promise<void> => {
  try {
    await view(allocation, nth);
  } catch (error) {
    if (tries === 1) throw error;
    process.send?.({ lost: "refused" });
    await delay(againMs);
    await viewAtLast(allocation, nth, tries - 1);
  }
};

const waiting = allocations.entries();
const open = async (): Promise<void> => {
  for (const [nth, allocation] of waiting) await viewAtLast(allocation, nth);
};
await Promise.all(Array.from({ length: openAtOnce }, open));
process.send?.({ open: allocations.length });
