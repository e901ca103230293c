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
import { EndSignal } from "../lib/end-signal.ts";
import { lazily } from "../lib/lazily.ts";
import type { RawQuery } from "../parameters.ts";
import type {
  Credential,
  Exchange,
  HttpRequest,
  HttpResponse,
  Log,
  Tally,
  Wire,
} from "../ports.ts";
import { type Route, rowFor } from "../routes.ts";
import { clientOf } from "./client.ts";
import { applyCors } from "./cors.ts";
import { newExchange, newTally } from "./exchange.ts";
import { checkCrossSite, checkRequest } from "./guards.ts";
import type { Others } from "./others.ts";
import { type Parsed, type ParseNeeds, parseRequest, readRowBody } from "./parse.ts";
import { type Passing, passOn } from "./passing.ts";
import type { PlainRequest } from "./plain/caller.ts";
import type { Fields } from "./plain/head.ts";
import type { Reply } from "./plain/reply.ts";
import { isRead, redirect } from "./redirect.ts";
import { endWithClient, refuse } from "./refusing.ts";
import { isElsewhere } from "./region.ts";
import { matchRows, type RowMatch } from "./row-match.ts";
import { plainPath, readTarget } from "./target.ts";

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

/** A row that a plain request may be for. */
const isOfAgents = ({ methods, body, carriage }: Route): boolean =>
  (methods === undefined || methods.includes("GET")) &&
  body === "none" &&
  carriage !== "registry" &&
  carriage !== "websocket";

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

/** Who asks, by what a request says of it. */
interface Sender {
  readonly client: Exchange["client"];
  readonly credential: Credential;
}

export interface Edge {
  /** For node:http's server. */
  readonly onRequest: RequestListener;
  /** Begins a plain request; false when it is not one for a row of agents, and nothing was done. */
  readonly begin: (request: PlainRequest, answer: (request: PlainRequest) => Reply) => boolean;
}

export const createEdge = (needs: EdgeNeeds, options: EdgeOptions): Edge => {
  const parse = parseRequest(needs);

  const depart = (visit: Visit, response: HttpResponse, error: GatewayError | undefined): void => {
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

  const newVisit = (request: HttpRequest, client: Exchange["client"]): Visit => ({
    id: needs.nextId(),
    url: request.url ?? "",
    method: request.method ?? "",
    raw: new Map(),
    client,
    startedAtMs: performance.now(),
    tally: newTally(),
    route: undefined,
    key: undefined,
    exchange: undefined,
  });

  const checkSite = ({ client }: Visit, route: Route, request: HttpRequest): void => {
    if (route.audit === "change" || !(isRead(request) || request.method === "OPTIONS"))
      checkCrossSite(request, client.authority, options.allowedOrigins);
  };

  const toExchange = (
    { id, method, raw, client, startedAtMs, tally }: Visit,
    credential: Credential,
    { route, key, parameters, body, pretty }: Parsed,
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
    const exchange = isOfAgents(route) ? newExchange(facts, new EndSignal()) : newExchange(facts);
    endWithClient(exchange, wire.response);
    return exchange;
  };

  /** `credential`: of a sender that is known. */
  const serve = async (
    visit: Visit,
    { rows, id }: RowMatch,
    request: HttpRequest,
    response: HttpResponse,
    credential?: Credential,
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
      const shown = credential ?? readCredential(request);
      const body = route.body === "none" ? undefined : await readRowBody(request, route, needs);
      const parsed = parse(route, id, visit.raw, body);
      visit.exchange = toExchange(visit, shown, parsed, { kind: "http", request, response });
      await needs.travel(visit.exchange);
    } catch (thrown) {
      error = toGatewayError(thrown, visit.exchange?.signal);
      refuse(request, response, error);
    }
    depart(visit, response, error);
  };

  const refuseUnrouted = (
    visit: Visit,
    request: HttpRequest,
    response: HttpResponse,
    error: GatewayError,
  ): void => {
    refuse(request, response, error);
    needs.started(undefined);
    depart(visit, response, error);
  };

  const take = (
    visit: Visit,
    match: RowMatch,
    request: HttpRequest,
    response: HttpResponse,
    credential?: Credential,
  ): void => {
    serve(visit, match, request, response, credential).catch((thrown: unknown) =>
      refuseUnrouted(visit, request, response, toGatewayError(thrown)),
    );
  };

  /** Hardly any request needs express, which takes as long to load as a fifth of all that the gateway loads. */
  const load = lazily(async (): Promise<Others> => {
    const { createOthers } = await import("./others.ts");
    return createOthers({ take, refuse: refuseUnrouted });
  });
  const others: Others = (visit, path, request, response) => {
    load()
      .then((go) => go(visit, path, request, response))
      .catch((thrown: unknown) => refuseUnrouted(visit, request, response, toGatewayError(thrown)));
  };

  const greet = ({ id }: Visit, response: HttpResponse): void => {
    response.setHeader("X-Request-Id", id);
    if (needs.isDraining()) response.setHeader("Connection", "close");
  };

  /** Checks a request and sends it to where its path belongs. Throws what is wrong with it. */
  const arrive = (visit: Visit, request: IncomingMessage, response: ServerResponse): void => {
    const { url } = visit;
    greet(visit, response);
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

  const onRequest: RequestListener = (request, response) => {
    const visit = newVisit(request, clientOf(request, options.isTrustedProxy));
    try {
      arrive(visit, request, response);
    } catch (thrown) {
      refuseUnrouted(visit, request, response, toGatewayError(thrown));
    }
  };

  const senders = new WeakMap<Fields, Sender>();

  /** Throws what is wrong with the request but for its target. */
  const senderOf = (request: PlainRequest): Sender => {
    const known = senders.get(request.fields);
    if (known !== undefined) return known;
    checkRequest(request);
    const sender = {
      client: clientOf(request, options.isTrustedProxy),
      credential: { ...readCredential(request), lasts: true } as const,
    };
    senders.set(request.fields, sender);
    return sender;
  };

  const arrivePlain = (
    visit: Visit,
    path: string,
    match: RowMatch,
    request: PlainRequest,
    { response, credential }: { readonly response: Reply; readonly credential: Credential },
  ): void => {
    try {
      greet(visit, response);
      visit.raw = queryOf(visit.url);
      applyCors(request, response, path);
      take(visit, match, request, response, credential);
    } catch (thrown) {
      refuseUnrouted(visit, request, response, toGatewayError(thrown));
    }
  };

  /** What is wrong with it is node:http's side to say. */
  const plainSender = (request: PlainRequest): Sender | undefined => {
    try {
      return senderOf(request);
    } catch {
      return undefined;
    }
  };

  const begin: Edge["begin"] = (request, answer) => {
    const { url } = request;
    const path = plainPath(url);
    const match = path === undefined ? undefined : matchRows(path);
    if (path === undefined || match === undefined || !match.rows.some(isOfAgents)) return false;
    if (needs.passing && !isCarried(url, needs.region)) return false;
    const sender = plainSender(request);
    if (sender === undefined) return false;
    const { client, credential } = sender;
    const visit = newVisit(request, client);
    arrivePlain(visit, path, match, request, { response: answer(request), credential });
    return true;
  };

  return { onRequest, begin };
};
