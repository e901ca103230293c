/**
 * Connections to the servers: dialled with a deadline before a request is given its socket, so that a request which
 * cannot be dialled has not been touched; kept only while they are silent.
 */
import { Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import { connect as connectTcp, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { ServersOptions } from "../../nomad/servers.ts";

export interface ConnectionsOptions {
  readonly connectTimeoutMs: number;
  readonly tls: ServersOptions["tls"];
}

export interface Connections {
  readonly agentFor: (origin: string) => HttpAgent;
  /** Ends those that nobody uses: where one was dead, they may be. What is asked next goes over one that is alive. */
  readonly endIdle: (origin: string) => void;
  /** A connection of its own; who asked closes it. Rejects with an `Undialled`. */
  readonly dial: (origin: string, signal: AbortSignal) => Promise<Socket>;
  readonly close: () => void;
}

/** No connection came about; nothing was sent. */
export class Undialled extends Error {}

const keepAliveMs = 15_000;
const maxFreeSockets = 32;
const freeMs = 30_000;

const givenTls = (tls: ServersOptions["tls"]): Record<string, string> =>
  Object.fromEntries(
    Object.entries(tls ?? {}).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );

const timedOut = (): Error => Object.assign(new Error("connect timed out"), { code: "ETIMEDOUT" });

type Dialled = (error: Error | null, socket: Socket) => void;

/** A free connection that says anything is not kept: its words would be taken for the next answer (hardening F8). */
const breakOff = function (this: Socket): void {
  this.destroy();
};

const isKept = (socket: Socket): boolean => {
  if (socket.readableLength > 0) return false;
  socket.setTimeout(freeMs);
  socket.on("data", breakOff);
  return true;
};

export const createConnections = ({ connectTimeoutMs, tls }: ConnectionsOptions): Connections => {
  const open = new Set<Socket>();

  const begin = (origin: string, allowHalfOpen: boolean): Socket => {
    const { protocol, hostname, port } = new URL(origin);
    const host = hostname.replace(/^\[|\]$/g, "");
    if (protocol !== "https:")
      return connectTcp({ host, port: Number(port || 80), noDelay: true, allowHalfOpen });
    return connectTls({
      host,
      port: Number(port || 443),
      ...(isIP(host) === 0 ? { servername: host } : {}),
      ALPNProtocols: ["http/1.1"],
      ...givenTls(tls),
    });
  };

  const start = (origin: string, allowHalfOpen: boolean, told: Dialled): Socket => {
    const socket = begin(origin, allowHalfOpen);
    const event = origin.startsWith("https:") ? "secureConnect" : "connect";
    open.add(socket);
    const timer = setTimeout(() => socket.destroy(timedOut()), connectTimeoutMs);
    const done = (): void => {
      clearTimeout(timer);
      socket.off("error", refused);
      socket.off("close", gone);
      socket.off(event, ready);
    };
    const fail = (cause: unknown): void => {
      done();
      socket.on("error", () => undefined);
      socket.destroy();
      told(new Undialled("no connection", { cause }), socket);
    };
    const refused = (error: Error): void => fail(error);
    const gone = (): void => fail(timedOut());
    const ready = (): void => {
      done();
      socket.setKeepAlive(true, keepAliveMs);
      told(null, socket);
    };
    socket.once("close", () => open.delete(socket));
    socket.once("error", refused);
    socket.once("close", gone);
    socket.once(event, ready);
    return socket;
  };

  const agents = new Map<string, HttpAgent>();
  const createAgent = (origin: string): HttpAgent => {
    const options = { keepAlive: true, maxFreeSockets, scheduling: "lifo" } as const;
    const agent = origin.startsWith("https:") ? new HttpsAgent(options) : new HttpAgent(options);
    const { keepSocketAlive, reuseSocket } = agent;
    return Object.assign(agent, {
      createConnection: (_options: unknown, told: Dialled): void => {
        start(origin, false, told);
      },
      keepSocketAlive: (socket: Socket): boolean => {
        keepSocketAlive.call(agent, socket);
        return isKept(socket);
      },
      reuseSocket: (socket: Socket, request: Parameters<typeof reuseSocket>[1]): void => {
        socket.off("data", breakOff);
        socket.setTimeout(0);
        reuseSocket.call(agent, socket, request);
      },
    });
  };

  return {
    agentFor: (origin) => {
      const agent = agents.get(origin) ?? createAgent(origin);
      agents.set(origin, agent);
      return agent;
    },
    endIdle: (origin) => {
      for (const sockets of Object.values(agents.get(origin)?.freeSockets ?? {}))
        for (const socket of [...(sockets ?? [])]) socket.destroy();
    },
    dial: (origin, signal) =>
      new Promise((resolve, reject) => {
        const leave = (): void => {
          socket.destroy();
        };
        const socket = start(origin, true, (error, dialled) => {
          signal.removeEventListener("abort", leave);
          if (error === null) resolve(dialled);
          else reject(error);
        });
        if (signal.aborted) leave();
        else signal.addEventListener("abort", leave, { once: true });
      }),
    close: () => {
      for (const agent of agents.values()) agent.destroy();
      for (const socket of open) socket.destroy();
    },
  };
};
