/** The second step: what an exchange is about. Touches the directory's memory alone unless an entry is missing. */
import { failed, GatewayError, notFound } from "../errors.ts";
import { canonicalUuid, uuidFault } from "../lib/uuid.ts";
import { commonParameters } from "../parameters.ts";
import type { Directory, Exchange, NodeEntry, Placement, Scope } from "../ports.ts";

const cluster: Scope = { kind: "cluster" };

/** Nomad names an unknown allocation differently where a server answers than where an agent does. */
const unknown = (exchange: Exchange): GatewayError =>
  exchange.route.key === "allocation_namespace"
    ? notFound("allocation not found")
    : new GatewayError("unknown_allocation", { id: exchange.key });

export interface ResolveNeeds {
  readonly directory: Pick<Directory, "allocation" | "find">;
  /** At once when the node is known with its address. */
  readonly findNode: (
    id: string,
    signal: AbortSignal,
  ) => NodeEntry | undefined | Promise<NodeEntry | undefined>;
}

/** Joins a node to what it belongs to, without a promise when the node is at hand. */
const withNode = (
  { findNode }: ResolveNeeds,
  nodeId: string,
  { signal }: Exchange,
  scope: (node: NodeEntry | undefined) => Scope,
): Scope | Promise<Scope> => {
  const node = findNode(nodeId, signal);
  return node instanceof Promise ? node.then(scope) : scope(node);
};

const placed = (
  needs: ResolveNeeds,
  placement: Placement,
  exchange: Exchange,
): Scope | Promise<Scope> =>
  withNode(needs, placement.nodeId, exchange, (node) => ({ kind: "allocation", placement, node }));

/** Asks for what is not held under its id as it was given. */
const findAllocation = async (needs: ResolveNeeds, exchange: Exchange): Promise<Scope> => {
  const fault = uuidFault(exchange.key);
  if (fault !== undefined) throw failed(`alloc lookup failed: index error: ${fault}`);
  const found = await needs.directory.find(canonicalUuid(exchange.key), exchange.signal);
  if (found === undefined) throw unknown(exchange);
  return placed(needs, found, exchange);
};

const resolveAllocation = (needs: ResolveNeeds, exchange: Exchange): Scope | Promise<Scope> => {
  const placement = needs.directory.allocation(exchange.key);
  return placement ? placed(needs, placement, exchange) : findAllocation(needs, exchange);
};

/** A node's right is asked before the node is judged (nomad-acl.md §4.2), so an unknown one is `reach`'s to refuse. */
const resolveNode = (needs: ResolveNeeds, exchange: Exchange): Scope | Promise<Scope> => {
  const { key } = exchange;
  if (uuidFault(key) !== undefined) return { kind: "node", nodeId: key, node: undefined };
  const nodeId = canonicalUuid(key);
  return withNode(needs, nodeId, exchange, (node) => ({ kind: "node", nodeId, node }));
};

export const createResolve =
  (needs: ResolveNeeds) =>
  (exchange: Exchange): Scope | Promise<Scope> => {
    switch (exchange.route.key) {
      case "allocation":
      case "allocation_namespace":
        return resolveAllocation(needs, exchange);
      case "node":
      case "node_of_path":
        return resolveNode(needs, exchange);
      case "namespace":
        return { kind: "namespace", namespace: commonParameters(exchange.raw).namespace };
      case "none":
        return cluster;
    }
  };
