/** The request to an agent, built from validated parts: what was authorised is what is sent, byte for byte. Pure. */
import { decodeCommand } from "../bodies.ts";
import { GatewayError } from "../errors.ts";
import { stringifyJson } from "../lib/json.ts";
import { canonicalUuid, isUuid, uuidFault } from "../lib/uuid.ts";
import { execParameters, toQuery } from "../parameters.ts";
import type { Exchange, NodeEntry } from "../ports.ts";
import { type Route, routes } from "../routes.ts";
import type { HeaderLines } from "../upstream/pool.ts";
import { toAgent } from "./headers.ts";

declare module "../lib/kept.ts" {
  interface Derived {
    /** The agent's path and query, with all that they are made of: a look at a file is an exchange of its own making. */
    agentTarget?: Pick<Exchange, "route" | "key" | "parameters" | "pretty"> & {
      readonly text: string;
    };
  }
}

export interface AgentRequest {
  readonly method: "GET" | "PUT" | "POST";
  /** Path and query. */
  readonly path: string;
  /** Headers that all requests of the caller's connection have. */
  readonly shared: HeaderLines;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
  /** True when asking twice does no harm. */
  readonly safe: boolean;
}

/** The allocation's or node's id, in its canonical form. */
export const idOf = (key: string): string => {
  if (isUuid(key)) return key;
  const id = uuidFault(key) === undefined ? canonicalUuid(key) : "";
  if (!isUuid(id)) throw new GatewayError("internal", { reason: "an id passed unchecked" });
  return id;
};

/** Agents serve all of these under `/v1/client`; `/v1/allocation/:id/checks` is the same by its other name. */
const templateOf = ({ path }: Route): string =>
  path.startsWith("/v1/allocation/") ? `/v1/client${path.slice("/v1".length)}` : path;

/** What stands before and behind the id in an agent's path; of a node's own routes it is the whole. */
const around = (route: Route): readonly [before: string, behind: string] => {
  const [before = "", behind = ""] = templateOf(route).split(/[:*]id/, 2);
  return [before, behind];
};

const templates = new Map(routes.map((route) => [route, around(route)]));

const pathOf = ({ route, key }: Exchange): string => {
  const [before, behind] = templates.get(route) ?? around(route);
  return route.key === "node" ? before : `${before}${idOf(key)}${behind}`;
};

/** Agents print JSON for people when asked; the streams have no such form. */
const isPretty = ({ route, pretty }: Exchange): boolean => route.carriage === "unary" && pretty;

const withQuery = (path: string, ...parts: readonly string[]): string => {
  let whole = path;
  let mark = "?";
  for (const part of parts) {
    if (part === "") continue;
    whole += mark + part;
    mark = "&";
  }
  return whole;
};

const methodOf = (exchange: Exchange): AgentRequest["method"] => {
  if (exchange.body === undefined) return "GET";
  return exchange.method === "POST" ? "POST" : "PUT";
};

const targetOf = (exchange: Exchange, ofNode: string): string =>
  withQuery(
    pathOf(exchange),
    ofNode,
    toQuery(exchange.parameters),
    isPretty(exchange) ? "pretty=true" : "",
  );

/**
 * An agent's path says what the caller's target said; of a node's own routes it names the node as well. Kept for short calls alone:
 * what lasts is asked for once.
 */
const agentTarget = (exchange: Exchange, node: NodeEntry): string => {
  if (exchange.route.key === "node") return targetOf(exchange, toQuery({ node_id: node.id }));
  if (exchange.route.carriage !== "unary") return targetOf(exchange, "");
  const { derived, route, key, parameters, pretty } = exchange;
  const known = derived.agentTarget;
  if (
    known?.parameters === parameters &&
    known.route === route &&
    known.key === key &&
    known.pretty === pretty
  )
    return known.text;
  const text = targetOf(exchange, "");
  derived.agentTarget = { route, key, parameters, pretty, text };
  return text;
};

/** Throws GatewayError alone. */
export const agentRequest = (exchange: Exchange, node: NodeEntry): AgentRequest => {
  const path = agentTarget(exchange, node);
  const { shared, headers } = toAgent(exchange);
  const method = methodOf(exchange);
  const safe = exchange.route.audit !== "change" && method === "GET";
  if (exchange.body === undefined) return { method, path, shared, headers, body: undefined, safe };
  const body = stringifyJson(
    exchange.route.key === "node" ? { ...exchange.body, NodeID: node.id } : exchange.body,
  );
  headers["Content-Type"] = "application/json";
  return { method, path, shared, headers, body, safe };
};

/** Path and query of the agent's exec socket. Throws Nomad's words for a bad `command` or `tty`. */
export const execPath = (exchange: Exchange): string => {
  const { task, command, tty } = execParameters(exchange.raw, decodeCommand);
  return withQuery(pathOf(exchange), toQuery({ task, command, tty }));
};
