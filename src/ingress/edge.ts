/**
 * The HTTP edge, made from the route table: plain paths are looked up (row-match.ts), all others matched by an express
 * application. A request is checked, parsed into an Exchange and sent on its journey; this file and `answer.ts` are the
 * only ones that write a refusal to an HTTP client.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { GatewayError, toGatewayError } from "../errors.ts";
import { readCredential } from "../http/credential.ts";
import { queryOf } from "../http/query.ts";
import { refusePlainExec } from "../http/upgrade.ts";
import type { RawQuery } from "../parameters.ts";
import type { Exchange, Log, Tally } from "../ports.ts";
import { type Route, rowFor } from "../routes.ts";
import { clientOf } from "./client.ts";
import { applyCors } from "./cors.ts";
import { newExchange, newTally } from "./exchange.ts";
import { checkCrossSite, checkRequest } from "./guards.ts";
import type { Others } from "./others.ts";
import { type ParseNeeds, parseRequest } from "./parse.ts";
import { type Passing, passOn } from "./passing.ts";
import { isRead, redirect } from "./redirect.ts";
import { endWithClient, refuse } from "./refusing.ts";
import { isElsewhere } from "./region.ts";
import { matchRows, type RowMatch } from "./row-match.ts";
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
  readonly travel: (exchange: Exchange) => Promise<void>;
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
  /** The target as it was sent. */
  readonly url: string;
  readonly method: string;
  readonly client: Exchange["client"];
  readonly startedAtMs: number;
  readonly tally: Tally;
  raw: RawQuery;
  route: Route | undefined;
  key: string | undefined;
  exchange: Exchange | undefined;
}

export const createEdge = (needs: EdgeNeeds, options: EdgeOptions): RequestListener => {
  const parse = parseRequest(needs);

  const depart = (
    visit: Visit,
    response: ServerResponse,
    error: GatewayError | undefined,
  ): void => {
    const { id, method, route, exchange, key, tally, client } = visit;
    const status = error?.code === "client_closed" ? error.status : response.statusCode;
    const durationMs = performance.now() - visit.startedAtMs;
    needs.ended({ id, method, route, exchange, key, status, error, tally, durationMs, client });
  };

  /** Never rejects. */
  const relay = async (
    passing: Passing,
    visit: Visit,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> => {
    const error = await passOn({ ...needs, passing }, options, visit, request, response);
    depart(visit, response, error);
  };

  const newVisit = (request: IncomingMessage): Visit => ({
    id: needs.nextId(),
    url: request.url ?? "",
    method: request.method ?? "",
    raw: new Map(),
    client: clientOf(request, options.isTrustedProxy),
    startedAtMs: performance.now(),
    tally: newTally(),
    route: undefined,
    key: undefined,
    exchange: undefined,
  });

  const toExchange = async (
    visit: Visit,
    route: Route,
    request: IncomingMessage,
    response: ServerResponse,
    key: string,
  ): Promise<Exchange> => {
    if (route.audit === "change" || !(isRead(request) || request.method === "OPTIONS"))
      checkCrossSite(request, visit.client.authority, options.allowedOrigins);
    const { id, method, raw, client, startedAtMs, tally } = visit;
    const credential = readCredential(request);
    const parsed = await parse(request, route, key, raw);
    const wire = { kind: "http", request, response } as const;
    const exchange = newExchange({
      id,
      method,
      raw,
      credential,
      client,
      wire,
      startedAtMs,
      tally,
      ...parsed,
    });
    endWithClient(exchange, response);
    return exchange;
  };

  const serve = async (
    visit: Visit,
    { rows, id }: RowMatch,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> => {
    let error: GatewayError | undefined;
    visit.route = rowFor(rows, visit.method);
    visit.key = id;
    needs.started(visit.route);
    try {
      if (visit.route === undefined) throw new GatewayError("invalid_method");
      if (visit.route.carriage === "websocket") refusePlainExec(visit.raw);
      visit.exchange = await toExchange(visit, visit.route, request, response, id);
      await needs.travel(visit.exchange);
    } catch (thrown) {
      error = toGatewayError(thrown, visit.exchange?.signal);
      refuse(request, response, error);
    }
    depart(visit, response, error);
  };

  const refuseUnrouted = (
    visit: Visit,
    request: IncomingMessage,
    response: ServerResponse,
    error: GatewayError,
  ): void => {
    refuse(request, response, error);
    needs.started(undefined);
    depart(visit, response, error);
  };

  const take = (
    visit: Visit,
    match: RowMatch,
    request: IncomingMessage,
    response: ServerResponse,
  ): void => {
    serve(visit, match, request, response).catch((thrown: unknown) =>
      refuseUnrouted(visit, request, response, toGatewayError(thrown)),
    );
  };
  let loaded: Promise<Others> | undefined;
  /** Hardly any request needs express, which takes as long to load as a fifth of all that the gateway loads. */
  const others: Others = (visit, path, request, response) => {
    loaded ??= import("./others.ts").then(({ createOthers }) =>
      createOthers({ take, refuse: refuseUnrouted }),
    );
    loaded
      .then((go) => go(visit, path, request, response))
      .catch((thrown: unknown) => refuseUnrouted(visit, request, response, toGatewayError(thrown)));
  };

  /** Checks a request and sends it to where its path belongs. Throws what is wrong with it. */
  const arrive = (visit: Visit, request: IncomingMessage, response: ServerResponse): void => {
    const { url } = visit;
    response.setHeader("X-Request-Id", visit.id);
    if (needs.isDraining()) response.setHeader("Connection", "close");
    if (needs.passing && !isCarried(url, needs.region)) {
      void relay(needs.passing, visit, request, response);
      return;
    }
    visit.raw = queryOf(url);
    const target = readTarget(url);
    checkRequest(request);
    if (target.kind === "redirect") {
      redirect(request, response, target.location);
      return;
    }
    if (applyCors(request, response, target.path)) return;
    const match = matchRows(target.path);
    if (match === undefined) others(visit, target.path, request, response);
    else take(visit, match, request, response);
  };

  return (request, response) => {
    const visit = newVisit(request);
    try {
      arrive(visit, request, response);
    } catch (thrown) {
      refuseUnrouted(visit, request, response, toGatewayError(thrown));
    }
  };
};
