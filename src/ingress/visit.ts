/**
 * A request from its arrival to its end, however it was read: it is parsed into an Exchange, sent on its journey, and told of when
 * it is over.
 */
import { GatewayError, toGatewayError } from "../errors.ts";
import { readCredential } from "../http/credential.ts";
import { refusePlainExec } from "../http/upgrade.ts";
import { EndSignal } from "../lib/end-signal.ts";
import type { RawQuery } from "../parameters.ts";
import type { Credential, Exchange, HttpRequest, HttpResponse, Tally, Wire } from "../ports.ts";
import { type Route, rowFor } from "../routes.ts";
import { newExchange, newTally } from "./exchange.ts";
import { checkCrossSite, mayChange } from "./guards.ts";
import { type Parsed, type ParseNeeds, parseRequest, readRowBody } from "./parse.ts";
import { endWithClient, refuse } from "./refusing.ts";
import type { RowMatch } from "./row-match.ts";

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

export interface VisitNeeds extends ParseNeeds {
  readonly travel: (exchange: Exchange) => Promise<void>;
  /** Told once before each `ended`. */
  readonly started: (route: Route | undefined) => void;
  readonly ended: (ending: Ending) => void;
  readonly nextId: () => string;
  readonly isDraining: () => boolean;
}

/** What was read of a request before, since it has come before. */
export interface Known {
  readonly credential: Credential;
  /** Undefined: it is to be parsed, and refused. */
  readonly parsed: Parsed | undefined;
}

/** What happens to a visit. */
export interface Visits {
  /** What a GET says that a row matched; undefined when it has no such row. Throws Nomad's refusals. */
  read(match: RowMatch, raw: RawQuery): Parsed | undefined;
  begin(request: HttpRequest, client: Exchange["client"]): Visit;
  /** The headers that every answer has. */
  greet(visit: Visit, response: HttpResponse): void;
  /** Serves what a row matched, to its end. */
  take(
    visit: Visit,
    match: RowMatch,
    request: HttpRequest,
    response: HttpResponse,
    known?: Known,
  ): void;
  /** Ends one for which no row is known. */
  refuse(visit: Visit, request: HttpRequest, response: HttpResponse, error: GatewayError): void;
  /** Ends one that was answered without a row: a redirect, a preflight. */
  answered(visit: Visit, response: HttpResponse): void;
  /** It is over, and answered. */
  depart(visit: Visit, response: HttpResponse, error: GatewayError | undefined): void;
}

/** What is carried to agents ends by its own means; what is answered here waits with Node's. */
const signalOf = ({ carriage }: Route): Pick<AbortController, "signal" | "abort"> =>
  carriage === "registry" || carriage === "websocket" ? new AbortController() : new EndSignal();

const noQuery: RawQuery = new Map();

export const createVisits = (
  needs: VisitNeeds,
  { allowedOrigins }: { readonly allowedOrigins: readonly string[] },
): Visits => {
  const parse = parseRequest(needs);

  const read: Visits["read"] = ({ rows, id }, raw) => {
    const route = rowFor(rows, "GET");
    return route && parse(route, id, raw, undefined);
  };

  const begin: Visits["begin"] = (request, client) => ({
    id: needs.nextId(),
    url: request.url ?? "",
    method: request.method ?? "",
    raw: noQuery,
    client,
    startedAtMs: performance.now(),
    tally: newTally(),
    route: undefined,
    key: undefined,
    exchange: undefined,
  });

  const greet = ({ id }: Visit, response: HttpResponse): void => {
    response.setHeader("X-Request-Id", id);
    if (needs.isDraining()) response.setHeader("Connection", "close");
  };

  const depart = (visit: Visit, response: HttpResponse, error: GatewayError | undefined): void => {
    const { id, method, route, exchange, key, tally, client } = visit;
    const status = error?.code === "client_closed" ? error.status : response.statusCode;
    const durationMs = performance.now() - visit.startedAtMs;
    needs.ended({ id, method, route, exchange, key, status, error, tally, durationMs, client });
  };

  const checkSite = ({ client }: Visit, route: Route, request: HttpRequest): void => {
    if (route.audit === "change" || mayChange(request))
      checkCrossSite(request, client.authority, allowedOrigins);
  };

  const toExchange = (
    { id, method, raw, client, startedAtMs, tally }: Visit,
    credential: Credential,
    { route, key, parameters, body, pretty, derived }: Parsed,
    wire: Extract<Wire, { readonly kind: "http" }>,
  ): Exchange => {
    const facts = {
      id,
      route,
      method,
      key,
      raw,
      parameters,
      pretty,
      body,
      credential,
      client,
      wire,
      startedAtMs,
      tally,
    };
    const exchange = newExchange(facts, signalOf(route), derived);
    endWithClient(exchange, wire.response);
    return exchange;
  };

  const serve = async (
    visit: Visit,
    { rows, id }: RowMatch,
    request: HttpRequest,
    response: HttpResponse,
    known?: Known,
  ): Promise<void> => {
    let error: GatewayError | undefined;
    const route = rowFor(rows, visit.method);
    visit.route = route;
    visit.key = id;
    needs.started(route);
    try {
      if (route === undefined) throw new GatewayError("invalid_method");
      if (route.carriage === "websocket") refusePlainExec(visit.raw);
      checkSite(visit, route, request);
      const shown = known?.credential ?? readCredential(request, visit.client.address);
      const body = route.body === "none" ? undefined : await readRowBody(request, route, needs);
      const parsed = known?.parsed ?? parse(route, id, visit.raw, body);
      visit.exchange = toExchange(visit, shown, parsed, { kind: "http", request, response });
      await needs.travel(visit.exchange);
    } catch (thrown) {
      error = toGatewayError(thrown, visit.exchange?.signal);
      refuse(request, response, error);
    }
    depart(visit, response, error);
  };

  const endUnrouted = (visit: Visit, response: HttpResponse, error?: GatewayError): void => {
    needs.started(undefined);
    depart(visit, response, error);
  };

  const refuseUnrouted: Visits["refuse"] = (visit, request, response, error) => {
    refuse(request, response, error);
    endUnrouted(visit, response, error);
  };

  const take: Visits["take"] = (visit, match, request, response, known) => {
    serve(visit, match, request, response, known).catch((thrown: unknown) =>
      refuseUnrouted(visit, request, response, toGatewayError(thrown)),
    );
  };

  return { read, begin, greet, take, refuse: refuseUnrouted, answered: endUnrouted, depart };
};
