/** The second step: what an exchange is about. Touches the directory's memory alone unless an entry is missing. */
import { failed, GatewayError, notFound } from "../errors.ts";
import { canonicalUuid, uuidFault } from "../lib/uuid.ts";
import { commonParameters } from "../parameters.ts";
import type { Directory, Exchange, Placement, Scope } from "../ports.ts";

const cluster: Scope = { kind: "cluster" };

/** Nomad names an unknown allocation differently where a server answers than where an agent does. */
const unknown = (exchange: Exchange): GatewayError =>
  exchange.route.key === "allocation_namespace"
    ? notFound("allocation not found")
    : new GatewayError("unknown_allocation", { id: exchange.key });

const allocationScope = (directory: Directory, placement: Placement): Scope => ({
  kind: "allocation",
  placement,
  node: directory.node(placement.nodeId),
});

const resolveAllocation = (directory: Directory, exchange: Exchange): Scope | Promise<Scope> => {
  const fault = uuidFault(exchange.key);
  if (fault !== undefined) throw failed(`alloc lookup failed: index error: ${fault}`);
  const id = canonicalUuid(exchange.key);
  const placement = directory.allocation(id);
  if (placement) return allocationScope(directory, placement);
  return directory.find(id, exchange.signal).then((found) => {
    if (found === undefined) throw unknown(exchange);
    return allocationScope(directory, found);
  });
};

/** A node's right is asked before the node is looked at (nomad-acl.md §4.2), so an unknown one is `reach`'s to refuse. */
const nodeScope = (directory: Directory, key: string): Scope => {
  const nodeId = uuidFault(key) === undefined ? canonicalUuid(key) : key;
  return { kind: "node", nodeId, node: directory.node(nodeId) };
};

export const createResolve =
  (directory: Directory) =>
  (exchange: Exchange): Scope | Promise<Scope> => {
    switch (exchange.route.key) {
      case "allocation":
      case "allocation_namespace":
        return resolveAllocation(directory, exchange);
      case "node":
        return nodeScope(directory, exchange.key);
      case "namespace":
        return { kind: "namespace", namespace: commonParameters(exchange.raw).namespace };
      case "none":
        return cluster;
    }
  };
