/** Joins the registry's, directory's and other parts' own facts to the metrics and the log. */
import type { IdentityObserver } from "../acl/identity-cache.ts";
import type { Shares } from "../carry/shared/shares.ts";
import type { Listener } from "../ingress/listener.ts";
import type { TlsContext } from "../ingress/tls.ts";
import type { Ledger } from "../live/ledger.ts";
import type { Audit } from "../observe/audit.ts";
import type { OpenLog } from "../observe/log.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { Log } from "../ports.ts";
import type { Reaches } from "../reach/reach.ts";
import type { DirectoryObserver, PackedDirectory } from "../registry/directory.ts";
import type { EmbeddedObserver, EmbeddedRegistry } from "../registry/embedded/registry.ts";
import type { Feed } from "../registry/feed.ts";
import type { LookupResult } from "../registry/flights.ts";
import type { NomadFeedObserver } from "../registry/nomad/observer.ts";
import type { Hub } from "../tunnel/hub.ts";

const lookups = {
  held: "hit",
  found: "found",
  absent: "unknown",
  negative: "unknown",
  refused: "failed",
  failed: "failed",
} as const satisfies Record<LookupResult | "held", string>;

const resyncs = {
  start: "start",
  gap: "gap",
  backwards: "backwards",
  reconnect: "disconnect",
  periodic: "periodic",
} as const;

export const observeDirectory = (metrics: Metrics): DirectoryObserver => ({
  lookedUp: (result) => metrics.indexLookedUp(lookups[result]),
  resynced: (reason) => metrics.resynced(resyncs[reason]),
  refused: () => metrics.limited("directory"),
});

export const observeIdentity = (metrics: Metrics): IdentityObserver => ({
  lookedUp: metrics.identityLookedUp,
  limited: metrics.limited,
});

export const observeNomadFeed = (metrics: Metrics): NomadFeedObserver => ({
  streamLost: metrics.streamLost,
  listed: (_reason, durationMs) => metrics.listed(durationMs),
  listFailed: metrics.listFailed,
});

export const observeRegistry = ({
  metrics,
  audit,
  log,
}: {
  readonly metrics: Metrics;
  readonly audit: Audit;
  readonly log: Log;
}): EmbeddedObserver => ({
  audit: ({ kind, ...facts }) => {
    const isRefused = kind === "join_refused";
    if (isRefused) audit.refusal(kind, facts);
    else audit.event(kind, facts);
    log.info({ event: kind, ...facts }, isRefused ? "join refused" : "registry");
  },
  dropped: (reason) => log.warn({ reason }, "an agent's allocation document was not taken"),
  pulled: (result) => {
    if (result === "failed") log.debug({}, "an agent could not be asked for its allocations");
  },
  metadata: {
    batched: ({ size, result }) => metrics.metadataBatched({ size, ok: result === "ok" }),
    applied: (delayMs) => metrics.metadataApplied(delayMs),
  },
});

export interface Observed {
  readonly feed: Feed;
  readonly embedded: EmbeddedRegistry | undefined;
  readonly directory: PackedDirectory;
  readonly reaches: Reaches;
  readonly ledger: Ledger;
  readonly hub: Hub;
  readonly listener: Listener;
  readonly audit: Audit;
  readonly log: OpenLog;
  readonly context: TlsContext | undefined;
  readonly shares: Shares;
}

/** Figures that their owners know; asked at each scrape. */
export const readGauges = (metrics: Metrics, parts: Observed): void => {
  const { feed, embedded, directory, reaches, ledger, hub, listener, audit, log, context, shares } =
    parts;
  metrics.read("index_allocs", () => directory.size.allocations);
  metrics.read("index_nodes", () => directory.size.nodes);
  metrics.readNodes(() => directory.nodesByStatus);
  metrics.read("index_lag_seconds", () => feed.lagMs / 1_000);
  metrics.read("index_last_event_timestamp_seconds", () => feed.lastChangeAtMs / 1_000);
  metrics.read("circuit_open_nodes", () => reaches.stats.openCircuits);
  metrics.read("pool_waiting", () => reaches.stats.waiting);
  metrics.readTunnels(() => hub.stats.tunnels);
  metrics.read("tunnel_streams", () => hub.stats.streams);
  metrics.read("tunnel_waiting", () => hub.stats.waiting);
  metrics.read("live_exchanges", () => ledger.list().length);
  metrics.read("open_sockets", () => listener.sockets);
  metrics.read("shared_follows", () => shares.stats.follows);
  metrics.read("shared_viewers", () => shares.stats.viewers);
  metrics.read("blocking_queries", () => embedded?.waiting);
  metrics.read("metadata_pending_nodes", () => embedded?.pendingMetadata);
  metrics.read("pending_stops", () => embedded?.pendingStops);
  metrics.read("audit_queue_bytes", () => audit.state.queuedBytes);
  metrics.read("audit_stalled_seconds", () => audit.state.stalledMs / 1_000);
  metrics.read("audit_dropped_records", () => audit.state.dropped);
  metrics.read("log_queue_bytes", () => log.state.queuedBytes);
  metrics.read("log_dropped_lines", () => log.state.dropped);
  metrics.read("tls_certificate_expiry_timestamp_seconds", () =>
    context === undefined ? undefined : context.expiresAtMs / 1_000,
  );
};
