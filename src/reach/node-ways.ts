/**
 * All connections to one node (or one server): a pool for short calls, one for streams, single ones for sockets. Together
 * they stay under the hundred connections that Nomad admits from one address.
 */
import type { Duplex } from "node:stream";
import { GatewayError, toGatewayError } from "../errors.ts";
import { createPool, type Pool } from "../upstream/pool.ts";
import type { Circuit } from "./circuit.ts";
import type { Connector, Peer } from "./connector.ts";

export interface WaysOptions {
  readonly shortConnections: number;
  readonly streamConnections: number;
  readonly socketConnections: number;
  /** Requests that may wait for a short call's connection. */
  readonly maxWaiting: number;
  readonly maxHeaderBytes: number;
  readonly keepAliveMs: number;
}

export type Kind = "short" | "stream" | "socket";

/** Bounds for agents of ours, which admit as many as their descriptors allow. */
export const ownAgentConnections = {
  shortConnections: 64,
  streamConnections: 3_000,
  socketConnections: 1_000,
} as const;

/** Connections for one purpose, and a bound for those that wait for one. */
interface Lane {
  readonly pool: Pool;
  /** Throws `overloaded` when one more request would be too many. */
  readonly check: () => void;
}

export interface NodeWays {
  readonly peer: Peer;
  /** `host:port`. */
  readonly address: string;
  readonly origin: string;
  readonly circuit: Circuit;
  /** Throws `overloaded`. */
  pool(kind: Kind): Pool;
  /** Throws `overloaded`; rejects `node_unreachable`. */
  connect(signal: AbortSignal): Promise<Duplex>;
  /** Lets what runs run to its end. */
  retire(): void;
  /** Ends everything at once. */
  destroy(reason: GatewayError): void;
  readonly stats: { readonly running: number; readonly waiting: number; readonly sockets: number };
  /** Something goes over them: ways that are made anew would not count it on their bounds. */
  readonly isBusy: boolean;
}

export const createWays = (
  { peer, address }: Pick<NodeWays, "peer" | "address">,
  { connector, circuit }: { readonly connector: Connector; readonly circuit: Circuit },
  options: WaysOptions,
): NodeWays => {
  const origin = `${peer.tls ? "https" : "http"}://${address}`;
  const sockets = new Set<Duplex>();
  let opening = 0;

  /**
   * One connection; the node's circuit learns of it here, however many exchanges wait for it. Those that waited while it
   * opened are refused at once. A tunnel that is full says nothing of whether its node can be reached.
   */
  const open: Connector["connect"] = (callback, intake) => {
    const { reason } = circuit;
    if (reason !== undefined) {
      const error = new GatewayError("node_unreachable", { ...peer.named, reason });
      queueMicrotask(() => callback(error, null));
      return () => undefined;
    }
    return connector.connect((error, socket) => {
      const refusal = error && toGatewayError(error);
      if (refusal === null) circuit.succeeded();
      else if (refusal.code !== "overloaded")
        circuit.failed(refusal.facts.reason ?? "connection failed");
      callback(error, socket);
    }, intake);
  };

  const overloaded = (limit: string): GatewayError =>
    new GatewayError("overloaded", { ...peer.named, limit });

  const createLane = (purpose: string, connections: number, maxWaiting: number): Lane => {
    const pool = createPool((intake, opened) => void open(opened, intake), address, {
      connections,
      purpose,
      maxHeadBytes: options.maxHeaderBytes,
      keepAliveMs: options.keepAliveMs,
    });
    const more = maxWaiting > 0 ? `, and ${maxWaiting} more wait for one` : "";
    return {
      pool,
      check: () => {
        const { running, waiting } = pool.stats;
        if (running + waiting >= connections + maxWaiting)
          throw overloaded(`${pool.bound} are busy${more}`);
      },
    };
  };

  const short = createLane("short calls", options.shortConnections, options.maxWaiting);
  const streams = createLane("streams", options.streamConnections, 0);

  const connect = (signal: AbortSignal): Promise<Duplex> =>
    new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      if (sockets.size + opening >= options.socketConnections)
        return reject(overloaded(`all ${options.socketConnections} for commands are busy`));
      opening += 1;
      let waiting = true;
      const done = (): boolean => {
        if (!waiting) return false;
        waiting = false;
        opening -= 1;
        signal.removeEventListener("abort", onAbort);
        return true;
      };
      const giveUp = open((error, socket) => {
        if (!done()) return socket?.destroy();
        if (socket === null) return reject(error);
        sockets.add(socket);
        socket.on("error", () => undefined); // whoever uses it hears 'close'; an error alone must not end the process
        socket.once("close", () => sockets.delete(socket));
        resolve(socket);
      });
      const onAbort = (): void => {
        if (!done()) return;
        giveUp();
        reject(signal.reason);
      };
      signal.addEventListener("abort", onAbort);
    });

  return {
    peer,
    address,
    origin,
    circuit,
    pool(kind) {
      const lane = kind === "short" ? short : streams;
      if (kind !== "socket") lane.check(); // a socket is bounded where it is opened
      return lane.pool;
    },
    connect,
    retire() {
      short.pool.close();
      streams.pool.close();
    },
    destroy(reason) {
      for (const socket of sockets) socket.destroy();
      short.pool.destroy(reason);
      streams.pool.destroy(reason);
    },
    get stats() {
      const [a, b] = [short.pool.stats, streams.pool.stats];
      return {
        running: a.running + b.running,
        waiting: a.waiting + b.waiting,
        sockets: sockets.size + opening,
      };
    },
    get isBusy() {
      return Object.values(this.stats).some((count) => count > 0);
    },
  };
};
