/** Agents that dial out: what is open, who was let in, how tunnels end, and how far away the agents are. */
import type { Registry } from "prom-client";
import Counter from "prom-client/lib/counter.js";
import { counter, gauges, histogram, total } from "./meters.ts";

const refusals = [
  "version", "bad_request", "permission_denied", "identity_unavailable", "draining", "full", "two_places",
] as const; // biome-ignore format: a list
/** Why a hello was not let in. */
export type HelloRefusal = (typeof refusals)[number];

const ends = [
  "agent", "lost", "protocol", "heartbeat", "flood", "replaced", "revoked", "drained",
] as const; // biome-ignore format: a list
/** What ended a tunnel. */
export type TunnelEnd = (typeof ends)[number];

const streamRefusals = [
  "no_tunnel", "not_back", "full", "agent_unreachable", "agent_full", "agent_other", "silent", "broken",
] as const; // biome-ignore format: a list
/** Why a connection through a tunnel was not had. */
export type StreamRefusal = (typeof streamRefusals)[number];

export interface TunnelMetrics {
  helloAccepted(): void;
  helloRefused(why: HelloRefusal): void;
  /** A node is there again whose tunnel was there a moment ago. */
  tunnelReconnected(): void;
  tunnelEnded(why: TunnelEnd): void;
  tunnelStreamOpened(): void;
  tunnelStreamRefused(why: StreamRefusal): void;
  /** A heartbeat was answered. */
  tunnelBeat(roundTripMs: number): void;
  /** Tunnels by state; asked at each scrape. */
  readTunnels(count: () => { readonly open: number; readonly draining: number }): void;
}

const roundTripBuckets = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10,
];

const createHellos = (
  registry: Registry,
): Pick<TunnelMetrics, "helloAccepted" | "helloRefused"> => {
  const metric = new Counter({
    name: "serai_tunnel_hellos_total",
    help: "Agents that dialled for a tunnel, by whether and why not they were let in",
    labelNames: ["result", "reason"],
    registers: [registry],
  });
  const accepted = metric.labels("accepted", "none");
  const refused = (why: HelloRefusal) => metric.labels("refused", why);
  accepted.inc(0);
  for (const why of refusals) refused(why).inc(0);
  return { helloAccepted: () => accepted.inc(), helloRefused: (why) => refused(why).inc() };
};

// biome-ignore format: a table
export const createTunnelMetrics = (registry: Registry): TunnelMetrics => {
  const roundTrips = histogram(registry, "tunnel_round_trip_seconds", "Time until an agent has answered a heartbeat", roundTripBuckets);
  return {
    ...createHellos(registry),
    tunnelReconnected: total(registry, "tunnel_reconnects_total", "Tunnels of nodes that had one a moment before"),
    tunnelEnded: counter(registry, ["tunnel_ends_total", "Tunnels that ended, by what ended them", "reason"], ends),
    tunnelStreamOpened: total(registry, "tunnel_streams_opened_total", "Connections to agents that were opened through tunnels"),
    tunnelStreamRefused: counter(registry, ["tunnel_streams_refused_total", "Connections through tunnels that were not had", "reason"], streamRefusals),
    tunnelBeat: (roundTripMs) => roundTrips.observe(roundTripMs / 1000),
    readTunnels: gauges(registry, ["tunnels", "Tunnels of agents to this gateway", "state"]),
  };
};
