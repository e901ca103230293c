/** The agent's HTTP server: express for the routes, everything else in the door. Whoever creates it closes it. */
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { createServer as createTlsServer, type Server as TlsServer } from "node:https";
import type { Duplex } from "node:stream";
import { setTimeout as wait } from "node:timers/promises";
import type { SecureContextOptions, TlsOptions } from "node:tls";
import express from "express";
import { writeError } from "../../answer.ts";
import { GatewayError, notFound, toGatewayError } from "../../errors.ts";
import { closeServer, listenOn } from "../../http/serving.ts";
import { createServer } from "../../lib/node-http.ts";
import { type Route, routes } from "../../routes.ts";
import type { DoorNeeds } from "./ask.ts";
import { cleanPath, unknownPath } from "./clean-path.ts";
import { createDoor } from "./door.ts";
import { createExecDoor, type ExecDoorOptions, execDoorDefaults } from "./exec-door.ts";
import { isExecUpgrade } from "./exec-path.ts";

/** Set on purpose: a node's door is small and its neighbours are few. */
const serverLimits = {
  maxHeaderSize: 16 * 1024,
  headersTimeout: 5_000,
  /** Until the request with its body is there; an answer may take as long as it takes. */
  requestTimeout: 30_000,
  connectionsCheckingInterval: 1_000,
  insecureHTTPParser: false,
  requireHostHeader: true,
} as const;

/** Longer than any pool of the gateway keeps an idle connection, so that it never closes under a request. */
const keepAliveMsDefault = 120_000;
const maxConnections = 4_096;
const tlsHandshakeTimeoutMs = 10_000;
const idleSweepMs = 50;

/** Routes of the table that an agent answers besides those carried to it. */
const own: ReadonlySet<string> = new Set([
  "alloc.stop",
  "node.allocations",
  "agent.self",
  "agent.health",
]);

const served = routes.filter(({ carriage, name }) => carriage !== "registry" || own.has(name));

const byPath = (): ReadonlyMap<string, readonly Route[]> => Map.groupBy(served, ({ path }) => path);

export interface AgentServer {
  /** Resolves with the port. */
  listen(host: string, port: number): Promise<number>;
  /** Takes a connection that came another way; it speaks HTTP/1.1. Whoever has opened it ends it when it is idle. */
  accept(connection: Duplex): void;
  /** Requests and sockets that are open. */
  readonly live: number;
  /** New certificates for new connections; nothing without TLS. */
  setSecureContext(context: SecureContextOptions): void;
  /** Stops accepting, ends what lasts, lets short answers finish until `signal` aborts. */
  close(signal: AbortSignal): Promise<void>;
}

export interface AgentServerOptions {
  /** With it the listener speaks TLS. */
  readonly tls?: TlsOptions;
  readonly exec?: Partial<ExecDoorOptions>;
  /** How long the listener keeps an idle connection. */
  readonly keepAliveMs?: number;
}

const lasting: ReadonlySet<string> = new Set(["download", "follow"]);
const lasts = (rows: readonly Route[]): boolean =>
  rows.some(({ carriage, name }) => lasting.has(carriage) || name === "node.allocations");

const keyOf = (request: express.Request): string => {
  const id = request.params["id"];
  return Array.isArray(id) ? id.join("/") : (id ?? "");
};

const redirect = (response: ServerResponse, to: string): void => {
  response.writeHead(307, { Location: to, "Content-Length": 0 });
  response.end();
};

const emptyNotFound = (response: ServerResponse): void => {
  response.writeHead(404, { "Content-Length": 0 });
  response.end();
};

/** The gateway's id of this exchange, so that both logs can be read together. */
const requestId = (request: IncomingMessage): string | undefined => {
  const id = request.headers["x-request-id"];
  return typeof id === "string" && /^[\w.:-]{1,128}$/.test(id) ? id : undefined;
};

export const createAgentServer = (
  needs: DoorNeeds,
  options: AgentServerOptions = {},
): AgentServer => {
  const door = createDoor(needs);
  const execDoor = createExecDoor(needs, { ...execDoorDefaults, ...options.exec });
  const endings = new Set<(reason: GatewayError) => void>();
  /** Connections that came another way than by the listener, which the server does not count. */
  const accepted = new Set<Duplex>();
  let live = 0;
  let isClosing = false;

  const refuse = (
    request: IncomingMessage,
    response: ServerResponse,
    error: GatewayError,
  ): void => {
    const fields = {
      code: error.code,
      status: error.status,
      method: request.method,
      path: request.url?.split("?", 1)[0],
      address: request.socket.remoteAddress,
      requestId: requestId(request),
    };
    if (error.code === "internal") needs.log.error({ ...fields, err: error.cause }, "failed");
    else needs.log.info(fields, "refused");
    if (error.code === "client_closed") response.destroy();
    else
      writeError(response, error, error.code === "body_too_large" ? { Connection: "close" } : {});
  };

  const answer = async (
    rows: readonly Route[],
    request: express.Request,
    response: ServerResponse,
  ) => {
    const exchange = new AbortController();
    const end = (reason: GatewayError): void => exchange.abort(reason);
    if (lasts(rows)) endings.add(end);
    live++;
    response.once("close", () => {
      live--;
      endings.delete(end);
      if (!response.writableFinished) end(new GatewayError("client_closed"));
    });
    try {
      // through a tunnel they still come while what is live ends, and would be waited for
      if (isClosing && lasts(rows)) throw new GatewayError("draining");
      await door(rows, keyOf(request), request, response, exchange.signal);
    } catch (error) {
      refuse(request, response, toGatewayError(error, exchange.signal));
    }
  };

  const app = express();
  app.enable("case sensitive routing");
  app.enable("strict routing");
  app.disable("x-powered-by");
  app.disable("etag");
  app.set("query parser", false);

  app.use((request, response, next) => {
    response.on("error", () => undefined);
    const cleaned = cleanPath(request.path);
    if (cleaned === undefined) return next();
    const at = request.url.indexOf("?");
    redirect(response, cleaned + (at < 0 ? "" : request.url.slice(at)));
  });
  for (const [path, rows] of byPath()) {
    app.all(path, (request, response) => void answer(rows, request, response));
    if (path.endsWith("/*id"))
      // an empty id has its own refusal
      app.all(
        path.slice(0, -"*id".length),
        (request, response) => void answer(rows, request, response),
      );
  }
  app.use((request: express.Request, response: express.Response) => {
    const text = unknownPath(request.path);
    if (text === "") emptyNotFound(response);
    else refuse(request, response, notFound(text));
  });
  app.use(
    (
      _error: unknown,
      request: express.Request,
      response: express.Response,
      _next: express.NextFunction,
    ) =>
      refuse(request, response, new GatewayError("bad_request", { text: "the path is malformed" })),
  );

  const { keepAliveMs: keepAliveTimeout = keepAliveMsDefault } = options;
  const limits = { ...serverLimits, keepAliveTimeout, shouldUpgradeCallback: isExecUpgrade };
  const tlsServer =
    options.tls === undefined
      ? undefined
      : createTlsServer(
          { handshakeTimeout: tlsHandshakeTimeoutMs, ...limits, ...options.tls },
          app,
        );
  const server: Server | TlsServer = tlsServer ?? createServer(limits, app);
  server.maxConnections = maxConnections;
  server.maxHeadersCount = 0; // their size is bounded; dropped ones could hide a doubled credential
  server.on("upgrade", (request, socket, head) => execDoor.upgrade(request, socket, head));

  return {
    listen: async (host, port) => {
      const bound = await listenOn(server, host, port);
      server.on("error", (err) => needs.log.error({ err }, "agent server error"));
      return bound.port;
    },
    accept: (connection) => {
      // a connection's end overtakes what a slow reader has not taken of it yet at the gateway; whoever accepts has no listener
      server.keepAliveTimeout = 0;
      accepted.add(connection);
      connection.once("close", () => accepted.delete(connection));
      server.emit("connection", connection);
    },
    get live() {
      return live + execDoor.live;
    },
    setSecureContext: (context) => tlsServer?.setSecureContext(context),
    async close(signal) {
      isClosing = true;
      const closed = closeServer(server, signal);
      for (const end of endings) end(new GatewayError("draining"));
      await needs.execSessions.close(signal);
      await execDoor.close(signal);
      await closed;
      while (accepted.size > 0 && live > 0 && !signal.aborted) await wait(idleSweepMs);
      for (const connection of accepted) connection.destroy();
    },
  };
};
