/** Resolving in front of Nomad's servers: the directory knows nodes, and not all of their addresses. */
import type { Exchange, NodeEntry, Scope } from "../../ports.ts";
import type { NomadNodes } from "./node-book.ts";

type Resolve = (exchange: Exchange) => Scope | Promise<Scope>;

const withNode = (scope: Scope, node: NodeEntry | undefined): Scope =>
  node !== undefined && (scope.kind === "allocation" || scope.kind === "node")
    ? { ...scope, node }
    : scope;

const nodeIdOf = (scope: Scope): string | undefined => {
  if (scope.kind === "allocation") return scope.placement.nodeId;
  // who asks for a node that is not known has shown no right yet, and makes no server work
  return scope.kind === "node" ? scope.node?.id : undefined;
};

const addressScope = (
  nodes: NomadNodes,
  scope: Scope,
  signal: AbortSignal,
): Scope | Promise<Scope> => {
  const id = nodeIdOf(scope);
  if (id === undefined) return scope;
  const found = nodes.find(id, signal);
  return found instanceof Promise
    ? found.then((node) => withNode(scope, node))
    : withNode(scope, found);
};

/** `resolve`, with the node's address as `nodes` has it: at once when it is known, else after one question. */
export const addressed =
  (resolve: Resolve, nodes: NomadNodes): Resolve =>
  (exchange) => {
    const scope = resolve(exchange);
    return scope instanceof Promise
      ? scope.then((found) => addressScope(nodes, found, exchange.signal))
      : addressScope(nodes, scope, exchange.signal);
  };
