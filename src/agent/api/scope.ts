/** Which allocation or node a request is about, as an agent that has no server to relay to says it (nomad-http.md §1.7). */
import { failed, GatewayError, notFound } from "../../errors.ts";
import type { JsonObject } from "../../lib/json.ts";
import { canonicalUuid, uuidFault } from "../../lib/uuid.ts";
import { one, type RawQuery } from "../../parameters.ts";
import type { Route } from "../../routes.ts";
import type { AgentAllocation, Workloads } from "../ports.ts";

/** Routes with JSON answers are asked of a server by RPC, which marks its faults; streams are not. */
const rpcPrefix = (route: Route): string =>
  route.carriage === "unary" && route.name !== "alloc.stop" ? "rpc error: " : "";

/** Throws Nomad's refusal for an id that this agent does not hold. */
export const findAllocation = (workloads: Workloads, route: Route, id: string): AgentAllocation => {
  const fault = uuidFault(id);
  if (fault !== undefined)
    throw failed(`${rpcPrefix(route)}alloc lookup failed: index error: ${fault}`);
  const found = workloads.allocation(canonicalUuid(id));
  if (found !== undefined) return found;
  const prefix = rpcPrefix(route);
  if (prefix === "") throw new GatewayError("unknown_allocation", { id });
  throw notFound(`${prefix}Unknown allocation "${id}"`);
};

/** The node id of the query, else of the body; "" is this node. */
export const askedNode = (raw: RawQuery, body: JsonObject | undefined): string =>
  one(raw, "node_id") || String(body?.["NodeID"] ?? "");

/** Throws Nomad's refusal for another node: 404 where only stats are asked, 500 elsewhere. */
export const requireOwnNode = (route: Route, ownId: string, asked: string): void => {
  if (asked === "") return;
  const fault = uuidFault(asked);
  if (fault !== undefined) throw failed(`rpc error: node lookup failed: index error: ${fault}`);
  if (canonicalUuid(asked) === ownId) return;
  const words = `rpc error: Unknown node ${asked}`;
  throw route.name === "client.stats" ? notFound(words) : failed(words);
};
