/** A gate of the least kind in front of servers: real sockets, the pass-through and nothing else. */

import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { writeError } from "../../../src/answer.ts";
import {
  createPassThrough,
  type PassThrough,
  type PassThroughOptions,
} from "../../../src/carry/pass-through/pass-through.ts";
import type { PassThroughContext } from "../../../src/carry/pass-through/passage.ts";
import { GatewayError } from "../../../src/errors.ts";
import { refuseUpgrade } from "../../../src/http/upgrade.ts";
import { newTally } from "../../../src/ingress/exchange.ts";
import { createServers, type Servers } from "../../../src/nomad/servers.ts";
import type { Tally } from "../../../src/ports.ts";
import { quiet } from "../front.ts";

export interface Gate extends AsyncDisposable {
  readonly port: number;
  readonly servers: Servers;
  readonly passThrough: PassThrough;
  readonly tallies: readonly Tally[];
  /** Ends of requests, in order: `-` or the error's code. */
  readonly ends: readonly string[];
  /** Ends every request now here with a reason. */
  readonly endAll: (reason: GatewayError) => void;
  /** Resolves with the n-th end. */
  readonly ended: (nth?: number) => Promise<string>;
}

export const client = {
  address: "192.0.2.7",
  authority: "gate.example:4646",
  scheme: "https",
} as const;

/** `addresses` as `host:port`, or whole origins. */
export const gateTo = async (
  addresses: readonly string[],
  options: Partial<PassThroughOptions> = {},
): Promise<Gate> => {
  const servers = createServers({
    addresses: addresses.map((address) =>
      address.includes("://") ? address : `http://${address}`,
    ),
    connectTimeoutMs: 1_000,
    tls: undefined,
  });
  const passThrough = createPassThrough(
    { log: quiet, servers },
    { mask: true, maxMaskedBytes: 65_536, region: "gate", tls: undefined, ...options },
  );
  const ends: string[] = [];
  const tallies: Tally[] = [];
  const controllers = new Set<AbortController>();
  const listeners = new Set<() => void>();

  const contextOf = (): PassThroughContext => {
    const controller = new AbortController();
    controllers.add(controller);
    const tally = newTally();
    tallies.push(tally);
    return { client, requestId: `request-${tallies.length}`, signal: controller.signal, tally };
  };
  const finish = (end: string): void => {
    ends.push(end);
    for (const listener of [...listeners]) listener();
  };
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    try {
      await passThrough.http(request, response, contextOf());
      finish("-");
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error;
      if (error.code !== "client_closed") writeError(response, error);
      finish(error.code);
    }
  };
  const server = createServer((request, response) => void serve(request, response));
  const take = async (request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> => {
    try {
      await passThrough.upgrade(request, socket, head, contextOf());
      finish("-");
    } catch (error) {
      if (!(error instanceof GatewayError)) throw error;
      finish(error.code);
      if (!socket.destroyed) refuseUpgrade(socket, error, { "X-Serai-Error": error.code });
    }
  };
  server.on(
    "upgrade",
    (request: IncomingMessage, socket: Duplex, head: Buffer) => void take(request, socket, head),
  );
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const at = server.address();
  return {
    port: typeof at === "object" && at !== null ? at.port : 0,
    servers,
    passThrough,
    tallies,
    ends,
    endAll: (reason) => {
      for (const controller of controllers) controller.abort(reason);
    },
    ended: (nth = 1) =>
      new Promise((resolve) => {
        const look = (): void => {
          const end = ends[nth - 1];
          if (end === undefined) return;
          listeners.delete(look);
          resolve(end);
        };
        listeners.add(look);
        look();
      }),
    async [Symbol.asyncDispose]() {
      const now = AbortSignal.abort();
      await passThrough.close(now);
      await servers.close(now);
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
};
