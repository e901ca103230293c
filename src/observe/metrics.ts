/**
 * All metrics of one gateway behind verbs. A registry of its own, so that two gateways in one process do not see each
 * other; every label from a closed set. Closed by whoever made it.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import Gauge from "prom-client/lib/gauge.js";
import Registry from "prom-client/lib/registry.js";
import { createHttpMetrics, type HttpMetrics } from "./http-metrics.ts";
import { createLoopWatch, type LoopWatch } from "./loop.ts";
import { createPartMetrics, type PartMetrics } from "./part-metrics.ts";
import { addProcessMetrics } from "./process-metrics.ts";
import { createStreamMetrics, type StreamMetrics } from "./stream-metrics.ts";
import { createTunnelMetrics, type TunnelMetrics } from "./tunnel-metrics.ts";

// biome-ignore format: a table
const readings = {
  index_allocs:              "Allocations in the directory",
  index_nodes:               "Nodes in the directory",
  index_last_event_timestamp_seconds: "When the feed last said something",
  index_lag_seconds:         "How far the directory is behind its feed",
  circuit_open_nodes:        "Nodes whose circuit is open",
  pool_waiting:              "Requests waiting for a connection to an agent",
  tunnel_streams:            "Connections to agents through tunnels",
  tunnel_waiting:            "Connections that wait for a tunnel to come back",
  live_exchanges:            "Exchanges in the ledger",
  open_sockets:              "Connections of callers",
  shared_follows:            "Follows of logs at agents that several viewers share",
  shared_viewers:            "Viewers of logs that have no follow of their own",
  blocking_queries:          "Blocking queries waiting",
  metadata_pending_nodes:    "Nodes whose metadata changed and is not in the registry yet",
  pending_stops:             "Stops that wait for their nodes to come back",
  audit_queue_bytes:         "Audit records waiting to be written",
  audit_stalled_seconds:     "For how long none of the audit records that wait could be written",
  audit_dropped_records:     "Audit records lost since the start",
  log_queue_bytes:           "Log lines waiting to be written",
  log_dropped_lines:         "Log lines lost since the start",
  tls_certificate_expiry_timestamp_seconds: "When the public listener's certificate ends",
} as const;

export type Reading = keyof typeof readings;

export interface Metrics extends HttpMetrics, StreamMetrics, PartMetrics, TunnelMetrics {
  /** A figure that its owner knows; asked at each scrape, undefined leaves it out. Named once. */
  read(reading: Reading, value: () => number | undefined): void;
  /** The figures' text; scrapes at the same time share one. */
  exposition(): Promise<string>;
  readonly contentType: string;
  /** The event loop as readiness sees it. */
  readonly loop: LoopWatch;
  close(): void;
}

export interface MetricsOptions {
  readonly version: string;
  readonly region: string;
}

const readers =
  (registry: Registry) =>
  (reading: Reading, value: () => number | undefined): void => {
    new Gauge({
      name: `serai_${reading}`,
      help: readings[reading],
      registers: [registry],
      collect() {
        const now = value();
        if (now === undefined || !Number.isFinite(now)) this.remove();
        else this.set(now);
      },
    });
  };

/** One metric a turn of the loop, so that a scrape delays no request by more than one metric takes. */
const expose = async (registry: Registry): Promise<string> => {
  const parts: string[] = [];
  for (const { name } of registry.getMetricsAsArray()) {
    parts.push(await registry.getSingleMetricAsString(name));
    await nextTurn();
  }
  return `${parts.join("\n\n")}\n`;
};

export const createMetrics = ({ version, region }: MetricsOptions): Metrics => {
  const registry = new Registry();
  const loop = createLoopWatch({ now: () => performance.now() });
  const stopProcess = addProcessMetrics(registry, loop);
  new Gauge({
    name: "serai_build_info",
    help: "What runs",
    labelNames: ["version", "node", "region"],
    registers: [registry],
  }).set({ version, node: process.version, region }, 1);

  let scrape: Promise<string> | undefined;
  const exposition = (): Promise<string> => {
    scrape ??= expose(registry).finally(() => {
      scrape = undefined;
    });
    return scrape;
  };

  return {
    ...createHttpMetrics(registry),
    ...createStreamMetrics(registry),
    ...createPartMetrics(registry),
    ...createTunnelMetrics(registry),
    read: readers(registry),
    exposition,
    contentType: registry.contentType,
    loop,
    close: () => {
      stopProcess();
      loop.close();
      registry.clear();
    },
  };
};
