/**
 * How to get to an agent. `to` is called once an exchange is authorised: it refuses what no agent can answer, or gives
 * a way that carriage uses without asking which kind it is.
 */

import type { ErrorCode } from "../errors.ts";
import { GatewayError } from "../errors.ts";
import type { Clock, Closer, Exchange, Log, NodeEntry, Reach, Scope } from "../ports.ts";
import { nodeOfTunnelAddress } from "../tunnel/protocol.ts";
import { type AddressPolicy, createPolicy } from "./address.ts";
import { type CircuitOptions, createCircuit } from "./circuit.ts";
import { type Connector, createConnector, type Peer, type TlsOptions } from "./connector.ts";
import { createWays, type Kind, type NodeWays, type WaysOptions } from "./node-ways.ts";
import { nodeOf } from "./refusals.ts";
import { directReport, type Obstacles, tunnelReport, type WayReport } from "./report.ts";
import { createTrails, type Trail } from "./trail.ts";
import { type Tunnels, tunnelled } from "./tunnelled.ts";

export interface ReachOptions extends WaysOptions, CircuitOptions {
  readonly connectTimeoutMs: number;
  readonly addresses: AddressPolicy;
  /** For nodes that say they speak TLS. */
  readonly tls: TlsOptions | undefined;
  /** Of agents that dial out; undefined: none may. */
  readonly tunnels: Tunnels | undefined;
  /** A node that cannot be dialled is waited for when its tunnel was there a moment ago: there is no way but these two. */
  readonly waitsForTunnels: boolean;
  /** Told how long each connection took to open. */
  readonly dialled: (durationMs: number) => void;
  /** Nodes that their servers call down are tried all the same. */
  readonly tryDown: boolean;
  /** Nodes that hold pools; the one unused for longest gives way. */
  readonly maxNodes: number;
  /** Milliseconds without use after which a node's pools are closed. */
  readonly idleMs: number;
}

const defaults: ReachOptions = {
  connectTimeoutMs: 2_000,
  addresses: { allow: [], deny: [], loopback: false },
  tls: undefined,
  tunnels: undefined,
  waitsForTunnels: false,
  dialled: () => undefined,
  tryDown: false,
  shortConnections: 24,
  streamConnections: 48,
  socketConnections: 24,
  maxWaiting: 256,
  maxHeaderBytes: 16 * 1024,
  keepAliveMs: 30_000,
  failures: 3,
  openMs: 1_000,
  maxOpenMs: 15_000,
  probeMs: 3_000,
  maxNodes: 20_000,
  idleMs: 600_000,
};

export interface ReachStats {
  readonly nodes: number;
  readonly openCircuits: number;
  readonly running: number;
  readonly waiting: number;
  readonly sockets: number;
  /** Failures told by carriage, by code. */
  readonly failures: Readonly<Partial<Record<ErrorCode, number>>>;
}

export interface Ways {
  /** Gives a way to the agent that owns a scope. Throws what no agent can answer. */
  to(scope: Scope, exchange: Exchange): Reach;
  /** The ways to a node as they are now, in the order in which they are tried. */
  report(node: NodeEntry): readonly WayReport[];
}

export interface Reaches extends Ways, Closer {
  readonly stats: ReachStats;
}

/** Which connections an exchange needs. */
export const kindOf = ({ route }: Exchange): Kind => {
  if (route.carriage === "unary") return "short";
  return route.carriage === "websocket" ? "socket" : "stream";
};

const sweepMs = 60_000;
const noHeaders = {};
const draining = new GatewayError("draining");

const faultOf = ({ facts, words }: GatewayError): string =>
  facts.reason ?? (facts.limit === undefined ? words : `no answer within ${facts.limit}`);

/** Owns every connection to agents; `close` ends them all, so exchanges are drained before. */
export const createReach = (
  needs: { readonly clock: Clock; readonly log: Log; readonly random?: () => number },
  given: Partial<ReachOptions> = {},
): Reaches => {
  const options: ReachOptions = { ...defaults, ...given };
  const policy = createPolicy(options.addresses);
  const now = (): number => needs.clock.monotonic();
  const random = needs.random ?? Math.random;
  const ways = new Map<string, NodeWays>();
  const trails = {
    tunnel: createTrails(now, options.maxNodes),
    direct: createTrails(now, options.maxNodes),
  };
  const failures: Partial<Record<ErrorCode, number>> = {};
  let closed = false;

  const drop = (id: string, old: NodeWays): void => {
    ways.delete(id);
    old.retire();
  };
  const sweep = (): void => {
    const before = now() - options.idleMs;
    for (const [id, old] of ways)
      if (old.usedAtMs < before && old.stats.sockets === 0) drop(id, old);
  };
  const timer = setInterval(sweep, sweepMs);
  timer.unref();

  const isTunnelled = ({ id }: NodeEntry): boolean => options.tunnels?.isOpen(id) ?? false;

  /** Throws for an address that may not be dialled. */
  const directTo = (node: NodeEntry, peer: Peer): Connector => {
    const judged = policy.check(node.address);
    if (!judged.ok) {
      needs.log.warn({ node: node.name, reason: judged.reason }, "address of a node refused");
      throw new GatewayError(
        "node_unreachable",
        { node: node.name, reason: judged.reason },
        { cause: new GatewayError("node_unreachable", { reason: judged.reason }) },
      );
    }
    const trail = trails.direct(node.id);
    return createConnector(peer, judged.value, { ...options, policy, trail });
  };

  const connectorTo = (node: NodeEntry, peer: Peer): Connector => {
    const { tunnels, tls } = options;
    if (tunnels === undefined) return directTo(node, peer);
    const hasAddress = nodeOfTunnelAddress(node.address) === undefined;
    const direct = hasAddress && (!isTunnelled(node) || policy.check(node.address).ok);
    return tunnelled({
      tunnels,
      nodeId: node.id,
      peer,
      direct: direct ? directTo(node, peer) : undefined,
      waits: options.waitsForTunnels,
      tls,
      trail: trails.tunnel(node.id),
    });
  };

  const create = (node: NodeEntry): NodeWays => {
    const peer = { named: { node: node.name }, tls: node.tls };
    const connector = connectorTo(node, peer);
    const made = createWays(
      { peer, address: node.address },
      { connector, circuit: createCircuit({ now, random }, options) },
      options,
    );
    ways.set(node.id, made);
    const [oldest] = ways;
    if (ways.size > options.maxNodes && oldest) drop(...oldest);
    return made;
  };

  /** The ways to a node at the address it has now. The map's order is the order of last use, minute by minute. */
  const waysTo = (node: NodeEntry): NodeWays => {
    const known = ways.get(node.id);
    if (known && known.address === node.address && known.peer.tls === node.tls) {
      if (now() - known.usedAtMs < sweepMs) return known;
      ways.delete(node.id);
      ways.set(node.id, known);
      known.usedAtMs = now();
      return known;
    }
    if (known) drop(node.id, known);
    const made = create(node);
    made.usedAtMs = now();
    return made;
  };

  /** What an agent did to an exchange; failures to connect are told by the connectors. */
  const failed = (error: GatewayError, trail: Trail): void => {
    failures[error.code] = (failures[error.code] ?? 0) + 1;
    if (error.code !== "node_unreachable") trail.failed("HTTP", faultOf(error));
  };

  const obstaclesOf = ({ id, address }: NodeEntry): Obstacles => {
    const judged = policy.check(address);
    const known = ways.get(id);
    const refusal = known?.address === address ? known.circuit.reason : undefined;
    return {
      refused: judged.ok ? undefined : judged.reason,
      isOpenCircuit: refusal !== undefined,
    };
  };

  options.tunnels?.onLeaving((id) => {
    const old = ways.get(id);
    if (old) drop(id, old); // its idle connections would hold the tunnel
  });

  return {
    to(scope, exchange) {
      if (closed) throw draining;
      const node = nodeOf(scope, exchange, options);
      const way = waysTo(node);
      const pool = way.pool(kindOf(exchange));
      const throughTunnel = isTunnelled(node);
      if (throughTunnel) way.circuit.succeeded(); // what failed before it was there counts no more
      const trail = throughTunnel ? trails.tunnel(node.id) : trails.direct(node.id);
      const reason = way.circuit.refusal();
      if (reason !== undefined)
        throw new GatewayError("node_unreachable", { node: node.name, reason });
      return {
        node,
        origin: way.origin,
        pool,
        connect: way.connect,
        headers: noHeaders,
        failed: (error) => failed(error, trail),
        succeeded: () => {
          way.circuit.succeeded();
          trail.answered();
        },
      };
    },
    report(node) {
      const { id, address } = node;
      const isOnly = nodeOfTunnelAddress(address) !== undefined;
      const dialled = isOnly ? undefined : address;
      return [
        tunnelReport(
          options.tunnels?.status(id),
          isTunnelled(node),
          isOnly,
          trails.tunnel(id).fared,
        ),
        directReport(dialled, obstaclesOf(node), trails.direct(id).fared),
      ];
    },
    get stats() {
      const all = [...ways.values()].map(({ stats, circuit }) => ({
        ...stats,
        open: circuit.isOpen ? 1 : 0,
      }));
      const sum = (field: "running" | "waiting" | "sockets" | "open"): number =>
        all.reduce((total, one) => total + one[field], 0);
      return {
        nodes: ways.size,
        openCircuits: sum("open"),
        running: sum("running"),
        waiting: sum("waiting"),
        sockets: sum("sockets"),
        failures: { ...failures },
      };
    },
    async close(_signal) {
      closed = true;
      clearInterval(timer);
      const all = [...ways.values()];
      ways.clear();
      for (const way of all) way.destroy(draining);
    },
  };
};
