/**
 * The last way: when an agent cannot be dialled, a Nomad server is asked, which hands the request on over the connection
 * that the agent holds to it (nomad-http.md §1.7). The path and the caller's token are the same, so it decides the same.
 */
import { GatewayError, toGatewayError } from "../errors.ts";
import { originsInTurn, type Servers, type ServersOptions } from "../nomad/servers.ts";
import type { Clock, Closer, Exchange, Log, NodeEntry, Reach, Scope } from "../ports.ts";
import { closedCircuit } from "./circuit.ts";
import { createConnector } from "./connector.ts";
import { createWays, type NodeWays } from "./node-ways.ts";
import { kindOf, type Ways } from "./reach.ts";
import { isFull, isOfAgent, type Obstacle, obstacleOf } from "./reasons.ts";
import { serverReport } from "./report.ts";
import { seldom } from "./seldom.ts";
import { createTrails } from "./trail.ts";

export interface ThroughServersNeeds {
  readonly clock: Clock;
  readonly log: Log;
  readonly servers: Pick<Servers, "current" | "addresses" | "failed">;
  /** Told of each exchange that takes this way, and why. */
  readonly taken: (obstacle: Obstacle) => void;
}

export interface ThroughServersOptions {
  readonly tls: ServersOptions["tls"];
  readonly connectTimeoutMs: number;
}

/** A server admits a hundred connections of one address; the feed, identities and pass-through need the rest. */
const connections = {
  shortConnections: 16,
  streamConnections: 24,
  socketConnections: 16,
  maxWaiting: 256,
  maxHeaderBytes: 16 * 1024,
  keepAliveMs: 30_000,
} as const;

const peer = "the Nomad server";
const toldEachMs = 30_000;
const maxTold = 1_000;
/** Nodes whose way through a server is remembered. */
const maxNodes = 5_000;

/** The operator has named the servers: no address of theirs is refused. */
const anyAddress = { fault: () => undefined };

const openWays = (origin: string, options: ThroughServersOptions): NodeWays => {
  const { protocol, hostname, port } = new URL(origin);
  const secure = protocol === "https:";
  const host = {
    host: hostname.replace(/^\[|\]$/g, ""),
    port: Number(port || (secure ? 443 : 80)),
  };
  const server = { named: { peer }, tls: secure };
  const connector = createConnector(server, host, { ...options, policy: anyAddress });
  return createWays(
    { peer: server, address: `${hostname}:${host.port}` },
    { connector, circuit: closedCircuit },
    connections,
  );
};

/** Why an exchange does not go to its agent. */
interface Detour {
  readonly node: NodeEntry;
  readonly exchange: Exchange;
  readonly error: GatewayError;
  readonly obstacle: Obstacle;
  /** Servers not asked yet. */
  readonly turns: Iterator<string, void>;
  /** What the last of those said that have no room. */
  readonly full?: GatewayError;
}

const isUnreachable = (error: unknown): error is GatewayError =>
  error instanceof GatewayError && error.code === "node_unreachable";

const noneLeft = ({ node, error }: Detour): GatewayError =>
  new GatewayError(
    "node_unreachable",
    {
      node: node.name,
      reason: `${error.facts.reason ?? "unknown reason"}; nor can a Nomad server`,
    },
    { cause: error },
  );

export const throughServers = (
  ways: Ways,
  { clock, log, servers, taken }: ThroughServersNeeds,
  options: ThroughServersOptions,
): Ways & Closer => {
  const opened = new Map(servers.addresses.map((origin) => [origin, openWays(origin, options)]));
  const trails = createTrails(() => clock.monotonic(), maxNodes);
  const isToTell = seldom({ clock }, { eachMs: toldEachMs, max: maxTold });

  const byServer = (detour: Detour): Reach => {
    const { value: origin } = detour.turns.next();
    const way = origin === undefined ? undefined : opened.get(origin);
    if (origin === undefined || way === undefined) throw detour.full ?? noneLeft(detour);
    const { node, exchange, obstacle } = detour;
    const trail = trails(node.id);
    let pool: Reach["pool"];
    try {
      pool = way.pool(kindOf(exchange));
    } catch (error) {
      if (isFull(error)) return byServer({ ...detour, full: error });
      throw error;
    }
    return {
      node,
      origin: way.origin,
      pool,
      connect: way.connect,
      headers: { "X-Serai-Reach": `servers; reason=${obstacle}` },
      failed: (error) => {
        if (isOfAgent(error)) trail.failed("HTTP", error.words);
      },
      succeeded: () => trail.answered(),
      next: async (error) => {
        // a call that is refused so has waited here for as long as it may
        if (error.code === "overloaded" && kindOf(exchange) === "socket")
          return byServer({ ...detour, full: error });
        if (error.code !== "node_unreachable") return undefined;
        trail.failed("dial", error.facts.reason ?? error.words);
        servers.failed(origin);
        log.warn({ origin, err: error }, "a Nomad server cannot be reached");
        return byServer(detour);
      },
    };
  };

  const detour = (node: NodeEntry, exchange: Exchange, error: GatewayError): Reach => {
    const obstacle = node.address === "" ? "no_address" : obstacleOf(error);
    const reach = byServer({ node, exchange, error, obstacle, turns: originsInTurn(servers) });
    taken(obstacle);
    if (isToTell(node.id))
      log.warn(
        { node: node.name, reason: obstacle, words: error.words },
        "a node is reached through the servers",
      );
    return reach;
  };

  /** A way to an agent whose end is not the end. */
  const onward = (reach: Reach, exchange: Exchange): Reach => ({
    ...reach,
    next: async (failure) => {
      let error = failure;
      try {
        const next = await reach.next?.(failure);
        if (next !== undefined) return onward(next, exchange);
      } catch (thrown) {
        error = toGatewayError(thrown, exchange.signal, reach.node.name);
      }
      if (isUnreachable(error)) return detour(reach.node, exchange, error);
      throw error;
    },
  });

  return {
    to(scope: Scope, exchange) {
      try {
        return onward(ways.to(scope, exchange), exchange);
      } catch (error) {
        const node = "node" in scope ? scope.node : undefined;
        if (node === undefined || !isUnreachable(error)) throw error;
        return detour(node, exchange, error);
      }
    },
    report: (node) => [...ways.report(node), serverReport(trails(node.id).fared)],
    async close() {
      const draining = new GatewayError("draining");
      for (const way of opened.values()) way.destroy(draining);
    },
  };
};
