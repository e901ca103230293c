/** The request to an agent, built from validated parts: what was authorised is what is sent, byte for byte. Pure. */
import { decodeCommand } from "../bodies.ts";
import { GatewayError } from "../errors.ts";
import { stringifyJson } from "../lib/json.ts";
import { canonicalUuid, isUuid, uuidFault } from "../lib/uuid.ts";
import { execParameters, type Parameters, toQuery } from "../parameters.ts";
import type { Exchange, NodeEntry } from "../ports.ts";
import type { Route } from "../routes.ts";
import { toAgent } from "./headers.ts";

export interface AgentRequest {
  readonly method: "GET" | "PUT" | "POST";
  /** Path and query. */
  readonly path: string;
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
const template = (route: Route): string =>
  route.path.startsWith("/v1/allocation/")
    ? `/v1/client${route.path.slice("/v1".length)}`
    : route.path;

const pathOf = (exchange: Exchange): string =>
  exchange.route.key === "node"
    ? template(exchange.route)
    : template(exchange.route).replace(/[:*]id/, idOf(exchange.key));

/** Agents print JSON for people when asked; the streams have no such form. */
const isPretty = ({ route, pretty }: Exchange): boolean => route.carriage === "unary" && pretty;

const withQuery = (path: string, parameters: Parameters): string => {
  const query = toQuery(parameters);
  return query === "" ? path : `${path}?${query}`;
};

const methodOf = (exchange: Exchange): AgentRequest["method"] => {
  if (exchange.body === undefined) return "GET";
  return exchange.method === "POST" ? "POST" : "PUT";
};

/** Throws GatewayError alone. */
export const agentRequest = (exchange: Exchange, node: NodeEntry): AgentRequest => {
  const onNode = exchange.route.key === "node";
  const path = withQuery(pathOf(exchange), {
    node_id: onNode ? node.id : undefined,
    ...exchange.parameters,
    pretty: isPretty(exchange) ? true : undefined,
  });
  const headers = toAgent(exchange);
  const method = methodOf(exchange);
  const safe = exchange.route.audit !== "change" && method === "GET";
  if (exchange.body === undefined) return { method, path, headers, body: undefined, safe };
  const body = stringifyJson(onNode ? { ...exchange.body, NodeID: node.id } : exchange.body);
  headers["Content-Type"] = "application/json";
  return { method, path, headers, body, safe };
};

/** Path and query of the agent's exec socket. Throws Nomad's words for a bad `command` or `tty`. */
export const execPath = (exchange: Exchange): string => {
  const { task, command, tty } = execParameters(exchange.raw, decodeCommand);
  return withQuery(pathOf(exchange), { task, command, tty });
};
