/** A front of the least kind: real sockets, exchanges made from the route table, refusals by the one writer. */

import { equal, match } from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type WebSocket, WebSocketServer } from "ws";
import { toClose, writeError } from "../../src/answer.ts";
import type { Agents, Limits } from "../../src/carry/carriage.ts";
import { createCarry } from "../../src/carry/carry.ts";
import { GatewayError, toGatewayError } from "../../src/errors.ts";
import { newTally } from "../../src/ingress/exchange.ts";
import { parseQuery } from "../../src/parameters.ts";
import type {
  Carry,
  Clock,
  Exchange,
  Log,
  NodeEntry,
  Scope,
  Tally,
  Wire,
} from "../../src/ports.ts";
import { createReach, type Reaches, type ReachOptions, type Ways } from "../../src/reach/reach.ts";
import { type Route, routeNamed } from "../../src/routes.ts";

export const allocationId = "208d94f2-4f97-e36f-1366-270d5c875c96";
export const nodeId = "54bc24bf-b455-d16b-fb44-abb740ea7b4b";
export const secret = "11111111-aaaa-4bbb-8ccc-000000000001";

export const clock: Clock = { now: () => Date.now(), monotonic: () => performance.now() };
export const quiet: Log = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

export const nodeAt = (address: string, more: Partial<NodeEntry> = {}): NodeEntry => ({
  id: nodeId,
  name: "golden-3",
  status: "ready",
  address,
  tls: false,
  ...more,
});

export const scopeOf = (route: Route, node: NodeEntry | undefined): Scope =>
  route.key === "node"
    ? { kind: "node", nodeId, node }
    : {
        kind: "allocation",
        node,
        placement: {
          id: allocationId,
          nodeId,
          namespace: "default",
          jobId: "web",
          taskGroup: "web",
          terminal: undefined,
        },
      };

/** An exchange of that route on which nothing has come. */
export const exchangeOn = (name: string): Exchange => {
  const route = routeNamed(name);
  return {
    id: "1", route, method: "GET", key: "", raw: new Map(), parameters: {}, pretty: false, body: undefined,
    credential: { secret: undefined, source: "none" },
    client: { address: "", authority: "", scheme: "http" },
    signal: new AbortController().signal,
    end: () => undefined,
    wire: { kind: "websocket", socket: Reflect.get({}, "none"), takeHeld: () => [] },
    startedAtMs: 0,
    tally: newTally(),
    kept: {}, derived: {},
  }; // biome-ignore format: short rows
};

export interface Ended {
  readonly exchange: Exchange;
  readonly tally: Tally;
  readonly error: GatewayError | undefined;
}

export interface Front extends AsyncDisposable {
  readonly port: number;
  readonly reach: Reaches;
  readonly exchanges: readonly Exchange[];
  /** Resolves with the n-th exchange that is over. */
  readonly ended: (nth?: number) => Promise<Ended>;
  /** Connections of clients open now. */
  readonly connections: () => Promise<number>;
}

export interface FrontOptions {
  readonly route: string;
  readonly node: NodeEntry;
  readonly scope?: Scope;
  readonly limits?: Partial<Limits>;
  readonly reach?: Partial<ReachOptions>;
  readonly deadlineMs?: number;
  readonly body?: Exchange["body"];
  readonly agents?: Agents;
  readonly carry?: Carry;
  /** Ways laid over the direct one. */
  readonly over?: (direct: Ways) => Ways;
}

export const front = async (options: FrontOptions): Promise<Front> => {
  const route = routeNamed(options.route);
  const { deadlineMs } = options;
  const deadlines =
    deadlineMs === undefined ? {} : { deadlinesMs: { first_byte: deadlineMs, action: deadlineMs } };
  const carry =
    options.carry ??
    createCarry(
      { clock, agents: options.agents ?? "serai" },
      { closeMs: 300, ...deadlines, ...options.limits },
    );
  const reach = createReach(
    { clock, log: quiet },
    { addresses: { allow: [], deny: [], loopback: true }, failures: 1_000, ...options.reach },
  );
  const ways = options.over?.(reach) ?? reach;
  const exchanges: Exchange[] = [];
  const over: Ended[] = [];
  const listeners = new Set<() => void>();

  const exchangeOf = (request: IncomingMessage, wire: Wire): Exchange => {
    const controller = new AbortController();
    const [, query = ""] = (request.url ?? "").split("?");
    const raw = parseQuery(query);
    const exchange: Exchange = {
      id: `request-${exchanges.length + 1}`,
      route,
      method: request.method ?? "GET",
      key: route.key === "node" ? nodeId : allocationId,
      raw,
      parameters: route.parameters(raw),
      pretty: false,
      body: options.body,
      credential: { secret, source: "header" },
      client: { address: "192.0.2.7", authority: "gate.example:4646", scheme: "https" },
      signal: controller.signal,
      end: (reason) => controller.abort(reason),
      wire,
      startedAtMs: clock.monotonic(),
      tally: newTally(),
      kept: {},
      derived: {},
    };
    exchanges.push(exchange);
    return exchange;
  };

  const run = async (exchange: Exchange, refuse: (error: GatewayError) => void): Promise<void> => {
    const { tally } = exchange;
    let error: GatewayError | undefined;
    try {
      const scope = options.scope ?? scopeOf(route, options.node);
      await carry(exchange, ways.to(scope, exchange));
    } catch (caught) {
      error = toGatewayError(caught, exchange.signal);
      refuse(error);
    }
    over.push({ exchange, tally, error });
    for (const listener of [...listeners]) listener();
  };

  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const exchange = exchangeOf(request, { kind: "http", request, response });
    response.on("close", () => {
      if (!response.writableFinished) exchange.end(new GatewayError("client_closed"));
    });
    void run(exchange, (error) => writeError(response, error));
  };
  const onSocket = (socket: WebSocket, request: IncomingMessage): void => {
    socket.pause();
    void run(
      exchangeOf(request, {
        kind: "websocket",
        socket,
        takeHeld: () => {
          socket.resume();
          return [];
        },
      }),
      (error) => {
        const { code, reason } = toClose(error);
        if (socket.isPaused) socket.resume();
        socket.close(code, reason);
      },
    );
  };

  const server = createServer(onRequest);
  const sockets = new WebSocketServer({ noServer: true, maxPayload: 1024 * 1024 });
  server.on("upgrade", (request, socket, head) => {
    socket.on("error", () => undefined);
    sockets.handleUpgrade(request, socket, head, (upgraded) => onSocket(upgraded, request));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const at = server.address();

  return {
    port: typeof at === "object" && at !== null ? at.port : 0,
    reach,
    exchanges,
    ended: (nth = 1) =>
      new Promise((resolve) => {
        const look = (): void => {
          const one = over[nth - 1];
          if (one === undefined) return;
          listeners.delete(look);
          resolve(one);
        };
        listeners.add(look);
        look();
      }),
    connections: () =>
      new Promise((resolve, reject) => {
        server.getConnections((error, count) => (error ? reject(error) : resolve(count)));
      }),
    async [Symbol.asyncDispose]() {
      for (const client of sockets.clients) client.terminate();
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await reach.close(AbortSignal.timeout(1_000));
      await closed;
    },
  };
};

const paths: Readonly<Record<string, string>> = {
  "fs.ls": `/v1/client/fs/ls/${allocationId}?path=/`,
  "fs.cat": `/v1/client/fs/cat/${allocationId}?path=/a`,
  "fs.logs": `/v1/client/fs/logs/${allocationId}?task=web&type=stdout&follow=true`,
  "alloc.exec": `/v1/client/allocation/${allocationId}/exec?task=web&command=%5B%22true%22%5D`,
};

export const pathOf = (route: string): string => {
  const path = paths[route] ?? "";
  match(path, /^\//, `no path for ${route}`);
  return path;
};

/** Polls until the value is there; fails with the last one seen. */
export const eventually = async <T>(read: () => T | Promise<T>, expected: T): Promise<void> => {
  const until = performance.now() + 5_000;
  for (;;) {
    const value = await read();
    if (value === expected) return;
    if (performance.now() > until) return equal(value, expected);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
};
