/** How a listener begins and ends. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo, Server, Socket } from "node:net";
import { Server as TlsServer } from "node:tls";
import { Bag, type Bagged } from "../lib/bag.ts";

/** node:http's and node:https' servers. */
interface HttpServer extends Server {
  closeIdleConnections(): void;
  closeAllConnections(): void;
}

/** A connection, with the bytes that its handshake took: while no more have come nothing was asked on it, and to node it is not idle. */
interface Opened extends Bagged {
  readonly socket: Socket;
  readonly bytesRead: number;
}

const openedOn = new WeakMap<Server, Bag<Opened>>();

const watchOpened = (server: Server): void => {
  const all = new Bag<Opened>();
  openedOn.set(server, all);
  server.on(server instanceof TlsServer ? "secureConnection" : "connection", (socket: Socket) => {
    const opened: Opened = { socket, bytesRead: socket.bytesRead, place: -1 };
    all.add(opened);
    socket.on("close", () => all.delete(opened));
  });
};

/** To node an answer is over when its end was called, though its caller may have taken next to nothing of it. */
const isOnItsWay = ({ writableEnded, writableFinished }: ServerResponse): boolean =>
  writableEnded && !writableFinished;

/** What came while this process stood still is read first: who has asked meanwhile is not idle. */
const endUnlessRead = (socket: Socket): void => {
  const { bytesRead } = socket;
  setImmediate(() => {
    if (socket.bytesRead === bytesRead) socket.destroy();
  });
};

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
  const isHeard = (response: ServerResponse): boolean => response.listenerCount("timeout") > 0;
  server.on("timeout", (socket: Socket) => {
    const answers = open.get(socket);
    if (answers?.values().some(isHeard)) return; // whoever listens decides
    if (answers?.size) socket.destroy();
    else endUnlessRead(socket);
  });
  const closeIdle = server.closeIdleConnections.bind(server);
  server.closeIdleConnections = () => {
    if (!open.values().some((answers) => answers.values().some(isOnItsWay))) closeIdle();
  };
};

const endSilent = (server: Server): void => {
  for (const { socket, bytesRead } of openedOn.get(server) ?? [])
    if (socket.bytesRead === bytesRead) socket.destroy();
};

/** Listens on TCP; rejects with the system's error (`EADDRINUSE`, ...). The address is the one that was bound. */
export const listenOn = (server: HttpServer, host: string, port: number): Promise<AddressInfo> =>
  new Promise((resolve, reject) => {
    watchOpened(server);
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
