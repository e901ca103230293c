/** How a listener begins and ends. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo, Server, Socket } from "node:net";
import { Server as TlsServer } from "node:tls";

/** node:http's and node:https' servers. */
interface HttpServer extends Server {
  closeIdleConnections(): void;
  closeAllConnections(): void;
}

/** Connections that have asked for nothing yet, with the bytes that their handshake took: to node they are not idle. */
type Silent = Map<Socket, number>;

const silentOf = new WeakMap<Server, Silent>();

const watchSilent = (server: Server): void => {
  const silent: Silent = new Map();
  silentOf.set(server, silent);
  function forget(this: Socket): void {
    silent.delete(this);
  }
  const asked = ({ socket }: IncomingMessage): void => void silent.delete(socket);
  server.on(server instanceof TlsServer ? "secureConnection" : "connection", (socket: Socket) => {
    silent.set(socket, socket.bytesRead);
    socket.on("close", forget);
  });
  server.on("request", asked);
};

/** To node an answer is over when its end was called, though its caller may have taken next to nothing of it. */
const isOnItsWay = ({ writableEnded, writableFinished }: ServerResponse): boolean =>
  writableEnded && !writableFinished;

/** Until all that was answered has gone out no connection is taken for idle: it might be the one that waits. */
const spareAnswers = (server: HttpServer): void => {
  const open = new Map<Socket, Set<ServerResponse>>();
  server.on("request", ({ socket }: IncomingMessage, response: ServerResponse) => {
    const answers = open.get(socket) ?? new Set();
    if (!open.has(socket)) {
      open.set(socket, answers);
      socket.once("close", () => open.delete(socket)); // those that waited for their turn are told of nothing
    }
    answers.add(response);
    response.once("close", () => answers.delete(response));
  });
  const closeIdle = server.closeIdleConnections.bind(server);
  server.closeIdleConnections = () => {
    if (!open.values().some((answers) => answers.values().some(isOnItsWay))) closeIdle();
  };
};

const endSilent = (server: Server): void => {
  for (const [socket, bytes] of silentOf.get(server) ?? [])
    if (socket.bytesRead === bytes) socket.destroy();
};

/** Listens on TCP; rejects with the system's error (`EADDRINUSE`, ...). The address is the one that was bound. */
export const listenOn = (server: HttpServer, host: string, port: number): Promise<AddressInfo> =>
  new Promise((resolve, reject) => {
    watchSilent(server);
    spareAnswers(server);
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      const address = server.address();
      if (address === null || typeof address === "string") reject(new Error("no TCP address"));
      else resolve(address);
    });
  });

/** How often a closing server looks for connections that have become idle. */
const idleSweepMs = 50;

/**
 * Stops accepting; resolves when the last connection has ended. When the signal aborts, `cut` ends them; `closeIdle` ends those
 * on which nothing is asked and that node does not know.
 */
export const closeServer = async (
  server: HttpServer,
  signal: AbortSignal,
  cut: () => void = () => server.closeAllConnections(),
  closeIdle: () => void = () => undefined,
): Promise<void> => {
  const closed = new Promise<void>((resolve) => void server.close(() => resolve()));
  // a connection whose answer ends only now is idle only now
  const sweep = setInterval(() => {
    server.closeIdleConnections();
    endSilent(server);
    closeIdle();
  }, idleSweepMs);
  if (signal.aborted) cut();
  else signal.addEventListener("abort", cut, { once: true });
  await closed;
  clearInterval(sweep);
  signal.removeEventListener("abort", cut);
};
