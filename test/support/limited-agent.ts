/** An agent that admits so many connections of one address and resets each one more, as a strict Nomad agent. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { WebSocketServer } from "ws";

export interface LimitedAgent extends AsyncDisposable {
  readonly address: string;
  /** Connections open now, the most there ever were, and those that were reset. */
  readonly counts: { readonly open: number; readonly most: number; readonly reset: number };
  /** Answers all short calls that wait, and those to come. */
  release(): void;
}

export const limitedAgent = async (limit: number): Promise<LimitedAgent> => {
  const sockets = new Set<Socket>();
  let most = 0;
  let reset = 0;
  const released = Promise.withResolvers<void>();
  const server = createServer((request, response) => {
    if (request.url?.startsWith("/v1/client/fs/logs/")) {
      response.write("{}");
      return;
    }
    void released.promise.then(() => response.end("[]"));
  });
  server.on("connection", (socket) => {
    socket.on("error", () => undefined);
    if (sockets.size >= limit) {
      reset += 1;
      socket.resetAndDestroy();
      return;
    }
    sockets.add(socket);
    most = Math.max(most, sockets.size);
    socket.once("close", () => sockets.delete(socket));
  });
  const execs = new WebSocketServer({ server });
  execs.on("connection", (socket) => socket.send('{"stdout":{"data":"Z28="}}'));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo; // a TCP server's address is one
  return {
    address: `127.0.0.1:${port}`,
    get counts() {
      return { open: sockets.size, most, reset };
    },
    release: () => released.resolve(),
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
};
