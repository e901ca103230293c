/** A line of little capacity: what is sent waits in a queue in front of it, then travels for a while. Both ways alike. */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

export interface SlowLine extends AsyncDisposable {
  /** `host:port` of its near end. */
  readonly address: string;
}

export interface Slowness {
  readonly bytesPerSecond: number;
  /** One way. */
  readonly delayMs: number;
}

const tickMs = 50;
/** What the line itself holds; all else waits with who sends it. */
const heldBytes = 16 * 1024;

/** Hands on with delay and at the line's pace; returns how to stop. */
const drip = (from: Socket, to: Socket, { bytesPerSecond, delayMs }: Slowness): (() => void) => {
  const queue: { bytes: Buffer; readonly dueMs: number }[] = [];
  const perTick = Math.max(1, Math.floor((bytesPerSecond * tickMs) / 1000));
  let held = 0;
  from.on("data", (bytes: Buffer) => {
    queue.push({ bytes, dueMs: performance.now() + delayMs });
    held += bytes.length;
    if (held > heldBytes) from.pause();
  });
  const tick = (): void => {
    let left = perTick;
    for (
      let first = queue[0];
      first && left > 0 && first.dueMs <= performance.now();
      first = queue[0]
    ) {
      const part = first.bytes.subarray(0, left);
      to.write(part);
      left -= part.length;
      held -= part.length;
      first.bytes = first.bytes.subarray(part.length);
      if (first.bytes.length === 0) queue.shift();
    }
    if (held <= heldBytes) from.resume();
  };
  const ticks = setInterval(tick, tickMs);
  return () => clearInterval(ticks);
};

/** Leads to `host:port`. */
export const slowLine = async (target: string, slowness: Slowness): Promise<SlowLine> => {
  const [host = "", port = ""] = target.split(":");
  const sockets = new Set<Socket>();
  const server = createServer({ noDelay: true }, (near) => {
    const far = connect({ port: Number(port), host, noDelay: true });
    const stops = [drip(near, far, slowness), drip(far, near, slowness)];
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(one);
      one.on("error", () => other.destroy());
      one.once("close", () => {
        for (const stop of stops) stop();
        sockets.delete(one);
        other.destroy();
      });
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const at = server.address();
  return {
    address: `127.0.0.1:${at !== null && typeof at === "object" ? at.port : 0}`,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
};
