/**
 * In front of a Nomad cluster: what the gateway does not carry itself, on its way to the servers. It is an exchange like
 * any other, checked, entered, counted, logged and audited as such; only who asks and what they may is the servers' to say.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { GatewayError, toGatewayError } from "../errors.ts";
import { readCredential } from "../http/credential.ts";
import { queryOf } from "../http/query.ts";
import { answerUpgrade, isOwnOrigin } from "../http/upgrade.ts";
import type { RawQuery } from "../parameters.ts";
import type { Exchange, Tally, Wire } from "../ports.ts";
import { passedRoutes, type Route } from "../routes.ts";
import { clientOf } from "./client.ts";
import type { EdgeNeeds, EdgeOptions } from "./edge.ts";
import { newExchange, newTally } from "./exchange.ts";
import { checkCrossSite, checkRequest, isRead, mayChange } from "./guards.ts";
import { endWithClient, refuse } from "./refusing.ts";
import type { UpgradeListener } from "./upgrade.ts";
import type { Visit } from "./visit.ts";

export interface PassingContext {
  readonly client: Exchange["client"];
  readonly requestId: string;
  /** Aborts when the client leaves or the gateway drains. */
  readonly signal: AbortSignal;
  readonly tally: Tally;
}

/** The way to the servers. */
export interface ToServers {
  /** Rejects before a head was sent, or when the caller was cut. */
  readonly http: (
    request: IncomingMessage,
    response: ServerResponse,
    context: PassingContext,
  ) => Promise<void>;
  /** Resolves with the answer's status when the socket is over. Rejects; what was not answered then is not destroyed. */
  readonly upgrade: (
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    context: PassingContext,
  ) => Promise<number>;
  /** True for a target that may become a WebSocket there. */
  readonly isSocketTarget: (url: string) => boolean;
  /** True for a request that it tells the audit log of itself: it knows who asks. */
  readonly isAudited: (request: IncomingMessage) => boolean;
}

export interface Passing extends ToServers {
  /** Enters it among what is live. Throws `draining`. */
  readonly admit: (exchange: Exchange) => void;
}

export interface PassingNeeds
  extends Pick<EdgeNeeds, "started" | "ended" | "nextId" | "log" | "isDraining"> {
  readonly passing: Passing;
}

const streams = /^\/v1\/(?:event\/stream|agent\/monitor)(?:[/?]|$)/;

const routeOf = (request: IncomingMessage): Route => {
  if (mayChange(request)) return passedRoutes.change;
  const isStream = isRead(request.method) && streams.test(request.url ?? "");
  return isStream ? passedRoutes.stream : passedRoutes.read;
};

/** Of what tells the audit log of itself. Made once: whoever keeps something with a row has it for good. */
const rowsOfAudited: ReadonlyMap<Route, Route> = new Map(
  Object.values(passedRoutes).map((route: Route) => [route, { ...route, audit: undefined }]),
);

/** Enters it. Only what is refused before that has no other to tell the audit log of it. Throws `draining`. */
const enter = (passing: Passing, request: IncomingMessage, arrived: Exchange): Exchange => {
  const row = passing.isAudited(request) ? rowsOfAudited.get(arrived.route) : undefined;
  const exchange = row === undefined ? arrived : { ...arrived, route: row };
  passing.admit(exchange);
  return exchange;
};

/** For what is told of it alone: the servers read the query that was sent. */
export const rawOf = (url: string): RawQuery => {
  try {
    return queryOf(url);
  } catch {
    return new Map();
  }
};

export const pathOf = (url: string): string => url.split("?", 1)[0] ?? "";

type Arrived = Pick<Visit, "id" | "method" | "client" | "startedAtMs" | "tally">;

const toExchange = (
  { id, method, client, startedAtMs, tally }: Arrived,
  route: Route,
  request: IncomingMessage,
  wire: Wire,
): Exchange => {
  const url = request.url ?? "";
  return newExchange({
    id,
    route,
    method,
    key: pathOf(url),
    raw: rawOf(url),
    parameters: {},
    pretty: false,
    body: undefined,
    credential: readCredential(request),
    client,
    wire,
    startedAtMs,
    tally,
  });
};

const contextOf = ({ id, client, signal, tally }: Exchange): PassingContext => ({
  client,
  requestId: id,
  signal,
  tally,
});

/** Passes one request on. Never rejects: what goes wrong is told to the client, and with what it resolves. */
export const createPassOn =
  (
    { passing, started }: Pick<PassingNeeds, "passing" | "started">,
    { allowedOrigins }: Pick<EdgeOptions, "allowedOrigins">,
  ) =>
  async (
    visit: Visit,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<GatewayError | undefined> => {
    visit.route = routeOf(request);
    started(visit.route);
    try {
      checkRequest(request);
      const arrived = toExchange(visit, visit.route, request, { kind: "http", request, response });
      visit.exchange = arrived;
      if (mayChange(request)) checkCrossSite(request, visit.client.authority, allowedOrigins);
      endWithClient(arrived, response);
      visit.exchange = enter(passing, request, arrived);
      await passing.http(request, response, contextOf(arrived));
      return undefined;
    } catch (thrown) {
      const error = toGatewayError(thrown, visit.exchange?.signal);
      refuse(request, response, error);
      return error;
    }
  };

const refuseSocket = (socket: Duplex, id: string, error: GatewayError): void => {
  if (socket.destroyed || error.code === "client_closed") {
    socket.destroy();
    return;
  }
  answerUpgrade(socket, error.status, error.words, {
    "X-Request-Id": id,
    "X-Serai-Error": error.code,
    ...(error.retryable ? { "Retry-After": "1" } : {}),
  });
};

/** Passes upgrades on. */
export const createPassingUpgrade = (
  { passing, started, ended, nextId, log }: PassingNeeds,
  options: EdgeOptions,
): UpgradeListener => {
  const admit = (arrived: Exchange, request: IncomingMessage, socket: Duplex): Exchange => {
    socket.once("close", () => arrived.end(new GatewayError("client_closed")));
    if (!isOwnOrigin(request, arrived.client.authority, options.allowedOrigins))
      throw new GatewayError("forbidden_origin");
    return enter(passing, request, arrived);
  };

  const converse = async (
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
  ): Promise<void> => {
    const route = passedRoutes.socket;
    const arrived: Arrived = {
      id: nextId(),
      method: request.method ?? "",
      client: clientOf(request, options.isTrustedProxy),
      startedAtMs: performance.now(),
      tally: newTally(),
    };
    const { id, method, client, startedAtMs, tally } = arrived;
    started(route);
    let exchange: Exchange | undefined;
    let error: GatewayError | undefined;
    let status = 0;
    try {
      checkRequest(request);
      exchange = toExchange(arrived, route, request, { kind: "upgrade", request, socket });
      exchange = admit(exchange, request, socket);
      status = await passing.upgrade(request, socket, head, contextOf(exchange));
    } catch (thrown) {
      error = toGatewayError(thrown, exchange?.signal);
      status = error.status;
      refuseSocket(socket, id, error);
    }
    const durationMs = performance.now() - startedAtMs;
    ended({ id, method, route, exchange, status, error, tally, durationMs, client });
  };

  return (request, socket, head) => {
    socket.on("error", (err) => log.debug({ err }, "socket error during an upgrade"));
    void converse(request, socket, head);
  };
};
