/**
 * The HTTP edge: one express application made from the route table. A request is checked, parsed into an Exchange and
 * sent on its journey; this file and `answer.ts` are the only ones that write a refusal to an HTTP client.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import express, { type NextFunction, type Request, type Response } from "express";
import { GatewayError, notFound, toGatewayError } from "../errors.ts";
import { readCredential } from "../http/credential.ts";
import { queryOf } from "../http/query.ts";
import { refusePlainExec } from "../http/upgrade.ts";
import type { RawQuery } from "../parameters.ts";
import type { Exchange, Log, Tally } from "../ports.ts";
import { type Route, routes, rowFor } from "../routes.ts";
import { clientOf } from "./client.ts";
import { applyCors } from "./cors.ts";
import { newExchange, newTally } from "./exchange.ts";
import { checkCrossSite, checkRequest } from "./guards.ts";
import { type ParseNeeds, parseRequest } from "./parse.ts";
import { type Passing, passOn } from "./passing.ts";
import { bareTrees, isRead, redirect, withQuery } from "./redirect.ts";
import { endWithClient, refuse } from "./refusing.ts";
import { isElsewhere } from "./region.ts";
import { readTarget } from "./target.ts";

/** How a request ended, for metrics, log and audit. */
export interface Ending {
  readonly id: string;
  readonly method: string;
  /** Undefined when no row matched. */
  readonly route: Route | undefined;
  readonly exchange: Exchange | undefined;
  /** The id of its path as given, where there is one. */
  readonly key?: string | undefined;
  readonly status: number;
  readonly error: GatewayError | undefined;
  readonly tally: Tally;
  readonly durationMs: number;
  readonly client: Exchange["client"];
}

export interface EdgeNeeds extends ParseNeeds {
  readonly travel: (exchange: Exchange, tally: Tally) => Promise<void>;
  /** Told once before each `ended`. */
  readonly started: (route: Route | undefined) => void;
  readonly ended: (ending: Ending) => void;
  readonly nextId: () => string;
  readonly log: Log;
  readonly isDraining: () => boolean;
  /** In front of a Nomad cluster: takes what the gateway does not carry itself. */
  readonly passing?: Passing | undefined;
  /** Told of each socket beyond the bound of those without a token. */
  readonly limited?: (limit: "handshakes_per_address") => void;
}

export interface EdgeOptions {
  readonly isTrustedProxy: (address: string) => boolean;
  readonly allowedOrigins: readonly string[];
}

/** What the gateway carries itself in front of a Nomad cluster; all else, and all of another region, is the servers'. */
const carried =
  /^\/v1\/client\/(?:fs|allocation)(?:[/?]|$)|^\/v1\/client\/(?:metadata|stats|gc)(?:\?|$)|^\/v1\/allocation\/[^/?]*\/checks(?:\?|$)|^\/v1\/serai\/nodes\/[^/?]*\/reach(?:\?|$)/;
const isCarried = (url: string, region: string): boolean =>
  carried.test(url) && !isElsewhere(url, region);

/** One request while it is here; what can be changed is filled as it becomes known. */
export interface Visit {
  readonly id: string;
  readonly method: string;
  readonly client: Exchange["client"];
  readonly startedAtMs: number;
  readonly tally: Tally;
  raw: RawQuery;
  route: Route | undefined;
  key: string | undefined;
  exchange: Exchange | undefined;
}

const rowsByPath = (): ReadonlyMap<string, readonly Route[]> =>
  Map.groupBy(routes, ({ path }) => path);

/** `*id` of the table takes the rest of the path, also an empty one. */
const toExpressPath = (path: string): string => path.replace("*id", "{*id}");

const idOf = (request: Request): string => {
  const id: string | readonly string[] | undefined = request.params["id"];
  return typeof id === "string" ? id : (id ?? []).join("/");
};

/** What Nomad says below a tree for no route. */
const unknownBelow = [
  ["/v1/client/fs", "Invalid method"],
  ["/v1/client/allocation", "resource not found"],
  ["/v1/allocation", "resource not found"],
] as const;

const greeting = "serai: a gateway in front of Nomad client agents. The API is under /v1/.\n";

export const createEdge = (needs: EdgeNeeds, options: EdgeOptions): RequestListener => {
  const parse = parseRequest(needs);
  const visits = new WeakMap<IncomingMessage, Visit>();

  const depart = (
    visit: Visit,
    response: ServerResponse,
    error: GatewayError | undefined,
  ): void => {
    // not left to the collector: V8 takes the values of an old WeakMap for alive until its next full collection
    visits.delete(response.req);
    const { id, method, route, exchange, key, tally, client } = visit;
    const status = error?.code === "client_closed" ? error.status : response.statusCode;
    const durationMs = performance.now() - visit.startedAtMs;
    needs.ended({ id, method, route, exchange, key, status, error, tally, durationMs, client });
  };

  /** Never rejects. */
  const relay = async (
    passing: Passing,
    visit: Visit,
    request: Request,
    response: Response,
  ): Promise<void> => {
    const error = await passOn({ ...needs, passing }, options, visit, request, response);
    depart(visit, response, error);
  };

  const arrive = (request: Request, response: Response, next: NextFunction): void => {
    const visit: Visit = {
      id: needs.nextId(),
      method: request.method,
      raw: new Map(),
      client: clientOf(request, options.isTrustedProxy),
      startedAtMs: performance.now(),
      tally: newTally(),
      route: undefined,
      key: undefined,
      exchange: undefined,
    };
    visits.set(request, visit);
    response.setHeader("X-Request-Id", visit.id);
    if (needs.isDraining()) response.setHeader("Connection", "close");
    if (needs.passing && !isCarried(request.url, needs.region)) {
      void relay(needs.passing, visit, request, response);
      return;
    }
    visit.raw = queryOf(request.url);
    const target = readTarget(request.url);
    checkRequest(request);
    if (target.kind === "redirect") {
      redirect(request, response, target.location);
      return;
    }
    request.url = target.path;
    if (!applyCors(request, response, target.path)) next();
  };

  const toExchange = async (
    visit: Visit,
    route: Route,
    request: Request,
    response: Response,
  ): Promise<Exchange> => {
    if (route.audit === "change" || !(isRead(request) || request.method === "OPTIONS"))
      checkCrossSite(request, visit.client.authority, options.allowedOrigins);
    const { id, method, raw, client, startedAtMs } = visit;
    const credential = readCredential(request);
    const parsed = await parse(request, route, idOf(request), raw);
    const wire = { kind: "http", request, response } as const;
    const exchange = newExchange({
      id,
      method,
      raw,
      credential,
      client,
      wire,
      startedAtMs,
      ...parsed,
    });
    endWithClient(exchange, response);
    return exchange;
  };

  const serve = async (
    rows: readonly Route[],
    request: Request,
    response: Response,
  ): Promise<void> => {
    const visit = visits.get(request);
    if (visit === undefined) return;
    let error: GatewayError | undefined;
    visit.route = rowFor(rows, request.method);
    visit.key = idOf(request);
    needs.started(visit.route);
    try {
      if (visit.route === undefined) throw new GatewayError("invalid_method");
      if (visit.route.carriage === "websocket") refusePlainExec(visit.raw);
      visit.exchange = await toExchange(visit, visit.route, request, response);
      await needs.travel(visit.exchange, visit.tally);
    } catch (thrown) {
      error = toGatewayError(thrown, visit.exchange?.signal);
      refuse(request, response, error);
    }
    depart(visit, response, error);
  };

  const refuseUnrouted = (request: Request, response: Response, error: GatewayError): void => {
    const visit = visits.get(request);
    refuse(request, response, error);
    if (visit === undefined) return;
    needs.started(undefined);
    depart(visit, response, error);
  };

  const app = express();
  app.set("case sensitive routing", true);
  app.set("strict routing", true);
  app.set("query parser", false);
  app.set("etag", false);
  app.set("x-powered-by", false);
  app.use(arrive);
  for (const [path, rows] of rowsByPath())
    app.all(toExpressPath(path), (request, response) => serve(rows, request, response));
  app.get("/", (_request, response) => {
    response.type("text/plain").send(greeting);
  });
  for (const tree of bareTrees)
    app.all(tree, (request, response) =>
      redirect(request, response, withQuery(`${tree}/`, request.originalUrl)),
    );
  for (const [tree, words] of unknownBelow)
    app.all(`${tree}/{*rest}`, (request, response) =>
      refuseUnrouted(request, response, notFound(words)),
    );
  app.use((request, response) => refuseUnrouted(request, response, notFound("")));
  app.use((thrown: unknown, request: Request, response: Response, _next: NextFunction) =>
    refuseUnrouted(request, response, toGatewayError(thrown)),
  );
  return app;
};
