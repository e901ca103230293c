/**
 * Stands before node:http's server on its own listener: plain requests are read and answered here, and a connection on which
 * anything else comes is node:http's from then on.
 */
import type { Server } from "node:http";
import type { Socket } from "node:net";
import { Server as TlsServer } from "node:tls";
import { Bag } from "../../lib/bag.ts";
import { Caller, type CallerNeeds } from "./caller.ts";
import { Rests } from "./rests.ts";

export interface FrontOptions {
  readonly maxHeaderBytes: number;
  /** Milliseconds a connection may be open without having asked anything. */
  readonly headersTimeoutMs: number;
  /** Milliseconds a connection is kept behind an answer. */
  readonly keepAliveTimeoutMs: number;
}

export interface Front {
  /** Ends connections on which nothing is asked. */
  closeIdle(): void;
}

const sweepMs = 1_000;
const msPerSecond = 1_000;

const unused = (): void => undefined;

/** Read from the handle itself, TLS records that are there already reach node's parser though it is paused, and it refuses them. */
const readAsStream = (socket: Socket): void => {
  socket.on("data", unused); // node leaves the handle for good
  socket.off("data", unused);
};

/** `late` is told of a connection that has not asked anything in time. Whoever has ended a socket before keeps it. */
export const standBefore = (
  server: Server,
  { begin, late }: Pick<CallerNeeds, "begin"> & { readonly late: (socket: Socket) => void },
  { maxHeaderBytes, headersTimeoutMs, keepAliveTimeoutMs }: FrontOptions,
): Front => {
  const event = server instanceof TlsServer ? "secureConnection" : "connection";
  const [ofNode] = server.listeners(event);
  if (ofNode === undefined) throw new Error(`nobody hears ${event}`);
  const callers = new Bag<Caller>();
  const needs: CallerNeeds = {
    begin,
    handOver(socket, bytes) {
      ofNode.call(server, socket);
      if (event === "secureConnection") readAsStream(socket);
      socket.unshift(bytes);
    },
    rests: new Rests(),
    closed: (caller) => void callers.delete(caller),
    maxHeadBytes: maxHeaderBytes,
    keptSeconds: Math.floor(keepAliveTimeoutMs / msPerSecond),
  };

  /** How long a connection that waits for a request may do so. */
  const patienceMs = ({ hasAsked }: Caller): number =>
    hasAsked ? keepAliveTimeoutMs : headersTimeoutMs;
  const sweep = (): void => {
    const now = performance.now();
    for (const caller of callers) {
      if (!caller.isIdle || now - caller.idleSinceMs <= patienceMs(caller)) continue;
      if (caller.hasAsked) caller.socket.destroy();
      else {
        caller.deafen();
        late(caller.socket);
      }
    }
  };
  let timer: NodeJS.Timeout | undefined;
  server.once("listening", () => {
    // what came while this process stood still is read first: who has asked meanwhile is not idle
    timer = setInterval(() => setImmediate(sweep), sweepMs).unref();
  });

  server.off(event, ofNode as (socket: Socket) => void); // its own listener of connections
  server.on(event, (socket: Socket) => {
    if (socket.writable) callers.add(new Caller(socket, needs));
  });
  server.once("close", () => clearInterval(timer));
  return {
    closeIdle() {
      for (const caller of callers) if (caller.isIdle && caller.hasAsked) caller.socket.destroy();
    },
  };
};
