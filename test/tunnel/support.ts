/** Both ends of a tunnel on a real connection, without hello and gateway. */
import { once } from "node:events";
import { createServer as createHttp, type RequestListener } from "node:http";
import { connect, createServer, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { type Served, serveTunnel } from "../../src/tunnel/serve.ts";
import type { VitalsOptions } from "../../src/tunnel/vitals.ts";

export interface Pair extends AsyncDisposable {
  /** The gateway's end, before anything was read from it. */
  readonly near: Socket;
  /** The agent's end. */
  readonly far: Socket;
}

/** Two ends of one TCP connection on loopback; the agent's may be kept open when the gateway's has ended. */
export const connectedPair = async ({ allowHalfOpen = false } = {}): Promise<Pair> => {
  const server = createServer({ noDelay: true, allowHalfOpen: true }); // as an upgraded socket
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no TCP address");
  const far = connect({ port: address.port, host: "127.0.0.1", noDelay: true, allowHalfOpen });
  const accepted: Promise<[Socket]> = once(server, "connection") as Promise<[Socket]>; // node's own event
  const [near] = await accepted;
  await (far.connecting ? once(far, "connect") : undefined);
  for (const end of [near, far]) end.on("error", () => end.destroy());
  return {
    near,
    far,
    [Symbol.asyncDispose]: async () => {
      near.destroy();
      far.destroy();
      server.close();
      await once(server, "close");
    },
  };
};

/** Less than the heartbeats take to notice anything, and much more than "at once" does. */
const soonMs = 5_000;
/** Why a tunnel has ended; fails when only a heartbeat would end it. */
export const endedSoon = async (ended: Promise<string>): Promise<string> => {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error("its tunnel is still there")), soonMs);
  try {
    return await Promise.race([ended, late]);
  } finally {
    clearTimeout(timer);
  }
};

/** An agent behind a tunnel that answers with `listener`. */
export const behind = (
  socket: Duplex,
  listener: RequestListener,
  options: Partial<VitalsOptions> = {},
): Served => {
  const server = createHttp(listener);
  return serveTunnel(
    socket,
    { accept: (incoming) => void server.emit("connection", incoming.take()), draining: () => {} },
    options,
  );
};
