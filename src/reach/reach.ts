/**
 * How to get to an agent. `to` is called once an exchange is authorised: it refuses what no agent can answer, or gives
 * a way that carriage uses without asking which kind it is.
 */
import { type ErrorCode, GatewayError } from "../errors.ts";
import type { Clock, Closer, Exchange, Log, NodeEntry, Reach, Scope } from "../ports.ts";
import { nodeOfTunnelAddress } from "../tunnel/protocol.ts";
import { type AddressPolicy, createPolicy } from "./address.ts";
import { type CircuitOptions, createCircuit } from "./circuit.ts";
import { type Connector, createConnector, type Peer, type TlsOptions } from "./connector.ts";
import { createWays, type Kind, type NodeWays, type WaysOptions } from "./node-ways.ts";
import { isOfAgent } from "./reasons.ts";
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

/** What carriage is given, made once for all exchanges that go the same way to a node as it is now. */
interface Given {
  readonly node: NodeEntry;
  readonly throughTunnel: boolean;
  readonly reaches: Map<Kind, Reach>;
}

/** A node's ways, and since when they are not used. */
interface Held {
  readonly ways: NodeWays;
  /** Monotonic milliseconds of the last use, minute by minute. */
  usedAtMs: number;
  given: Given | undefined;
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
  const held = new Map<string, Held>();
  const trails = {
    tunnel: createTrails(now, options.maxNodes),
    direct: createTrails(now, options.maxNodes),
  };
  const failures: Partial<Record<ErrorCode, number>> = {};
  let closed = false;

  const drop = (id: string, { ways }: Held): void => {
    held.delete(id);
    ways.retire();
  };
  const sweep = (): void => {
    const before = now() - options.idleMs;
    for (const [id, old] of held) if (old.usedAtMs < before && !old.ways.isBusy) drop(id, old);
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

  const create = (node: NodeEntry): Held => {
    const peer = { named: { node: node.name }, tls: node.tls };
    const connector = connectorTo(node, peer);
    const ways = createWays(
      { peer, address: node.address },
      { connector, circuit: createCircuit({ now, random }, options) },
      options,
    );
    const made = { ways, usedAtMs: now(), given: undefined };
    held.set(node.id, made);
    const [oldest] = held;
    if (held.size > options.maxNodes && oldest) drop(...oldest);
    return made;
  };

  /** The ways to a node at the address it has now. The map's order is the order of last use, minute by minute. */
  const waysTo = (node: NodeEntry): Held => {
    const known = held.get(node.id);
    if (known && known.ways.address === node.address && known.ways.peer.tls === node.tls) {
      if (now() - known.usedAtMs < sweepMs) return known;
      held.delete(node.id);
      held.set(node.id, known);
      known.usedAtMs = now();
      known.given = undefined; // its trail counts as used, too
      return known;
    }
    if (known) drop(node.id, known);
    return create(node);
  };

  /** What an agent did to an exchange; failures to connect are told by the connectors. */
  const failed = (error: GatewayError, trail: Trail): void => {
    failures[error.code] = (failures[error.code] ?? 0) + 1;
    if (isOfAgent(error)) trail.failed("HTTP", faultOf(error));
  };

  const obstaclesOf = ({ id, address }: NodeEntry): Obstacles => {
    const judged = policy.check(address);
    const known = held.get(id)?.ways;
    const refusal = known?.address === address ? known.circuit.reason : undefined;
    return {
      refused: judged.ok ? undefined : judged.reason,
      isOpenCircuit: refusal !== undefined,
    };
  };

  options.tunnels?.onLeaving((id) => {
    const old = held.get(id);
    if (old) drop(id, old); // its idle connections would hold the tunnel
  });

  const reachBy = (ways: NodeWays, node: NodeEntry, pool: Reach["pool"], trail: Trail): Reach => ({
    node,
    origin: ways.origin,
    pool,
    connect: ways.connect,
    headers: noHeaders,
    failed: (error) => failed(error, trail),
    succeeded: () => {
      ways.circuit.succeeded();
      trail.answered();
    },
  });

  const givenBy = (known: Held, node: NodeEntry, throughTunnel: boolean): Given => {
    const { given } = known;
    if (given?.node === node && given.throughTunnel === throughTunnel) return given;
    known.given = { node, throughTunnel, reaches: new Map() };
    return known.given;
  };

  return {
    to(scope, exchange) {
      if (closed) throw draining;
      const node = nodeOf(scope, exchange, options);
      const known = waysTo(node);
      const { ways } = known;
      const kind = kindOf(exchange);
      const pool = ways.pool(kind);
      const throughTunnel = isTunnelled(node);
      if (throughTunnel) ways.circuit.succeeded(); // what failed before it was there counts no more
      const reason = ways.circuit.refusal();
      if (reason !== undefined)
        throw new GatewayError("node_unreachable", { node: node.name, reason });
      const { reaches } = givenBy(known, node, throughTunnel);
      const made = reaches.get(kind);
      if (made) return made;
      const trail = throughTunnel ? trails.tunnel(node.id) : trails.direct(node.id);
      const reach = reachBy(ways, node, pool, trail);
      reaches.set(kind, reach);
      return reach;
    },
    report(node) {
      const { id, address } = node;
      const isOnly = nodeOfTunnelAddress(address) !== undefined;
      const dialled = isOnly ? undefined : address;
      return [
        tunnelReport(
          { status: options.tunnels?.status(id), isOpen: isTunnelled(node), isOnly },
          trails.tunnel(id).fared,
        ),
        directReport(dialled, obstaclesOf(node), trails.direct(id).fared),
      ];
    },
    get stats() {
      const all = [...held.values()].map(({ ways: { stats, circuit } }) => ({
        ...stats,
        open: circuit.isOpen ? 1 : 0,
      }));
      const sum = (field: "running" | "waiting" | "sockets" | "open"): number =>
        all.reduce((total, one) => total + one[field], 0);
      return {
        nodes: held.size,
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
      const all = [...held.values()];
      held.clear();
      for (const { ways } of all) ways.destroy(draining);
    },
  };
};
