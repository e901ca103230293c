/** What no agent can answer is refused here, with Nomad's texts and in its order (nomad-http.md §1.6, §7.5). Pure. */
import { failed, GatewayError, invalidRequest, notFound } from "../errors.ts";
import { goQuote } from "../lib/go.ts";
import { uuidFault } from "../lib/uuid.ts";
import type { Exchange, NodeEntry, Scope } from "../ports.ts";
import { nodeOfTunnelAddress } from "../tunnel/protocol.ts";

/** Routes whose unknown node is a 500; of the others streams say 400 and the rest 404. */
const failing: ReadonlySet<string> = new Set([
  "fs.ls", "fs.stat", "client.metadata.get", "client.metadata.post", "client.gc",
]); // biome-ignore format: a row

const isStream = ({ route }: Exchange): boolean =>
  route.carriage === "follow" || route.carriage === "download" || route.carriage === "websocket";

const unknownNode = (exchange: Exchange, id: string): GatewayError => {
  const fault = uuidFault(id);
  if (fault !== undefined) return failed(`node lookup failed: index error: ${fault}`);
  if (isStream(exchange)) return invalidRequest(`Unknown node ${goQuote(id)}`);
  const text = `Unknown node ${id}`;
  return failing.has(exchange.route.name) ? failed(text) : notFound(text);
};

export interface RefusalOptions {
  /** A node that its servers call down is still tried: they may be wrong about it. */
  readonly tryDown: boolean;
}

/**
 * A node from before the gateway's start that was not heard yet: its tunnel proves who it is, and is waited for. What
 * answers at an address from before the start may be anybody.
 */
const mayBeBack = ({ status, address }: NodeEntry): boolean =>
  status === "initializing" && nodeOfTunnelAddress(address) !== undefined;

/** The node to ask. Throws what Nomad answers when there is none. */
export const nodeOf = (
  scope: Scope,
  exchange: Exchange,
  { tryDown }: RefusalOptions,
): NodeEntry => {
  if (scope.kind !== "allocation" && scope.kind !== "node")
    throw new GatewayError("internal", { reason: `no node in a scope of kind ${scope.kind}` });
  if (scope.kind === "allocation" && exchange.route.name === "alloc.exec") {
    const { id, terminal } = scope.placement;
    if (terminal !== undefined)
      throw invalidRequest(`exec not possible, client status of allocation ${id} is ${terminal}`);
  }
  const { node } = scope;
  if (node === undefined)
    throw unknownNode(exchange, scope.kind === "node" ? scope.nodeId : scope.placement.nodeId);
  if (node.status !== "ready" && !tryDown && !mayBeBack(node))
    throw new GatewayError("no_path_to_node", { node: node.name, reason: node.status });
  return node;
};
