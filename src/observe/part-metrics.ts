/** What the parts behind the edge tell: identity, index, the way to agents, metadata, audit, reloads. */
import type { Registry } from "prom-client";
import Counter from "prom-client/lib/counter.js";
import Gauge from "prom-client/lib/gauge.js";
import type { NodeEntry } from "../ports.ts";
import type { Route } from "../routes.ts";
import { rightLabel } from "./labels.ts";
import { counter, gauges, histogram, total } from "./meters.ts";
import { cached, countCells, createCells } from "./series.ts";

export type LookupResult = "hit" | "found" | "unknown" | "failed";

const resyncReasons = ["start", "gap", "backwards", "disconnect", "periodic"] as const;
export type ResyncReason = (typeof resyncReasons)[number];

const streamLosses = ["refused", "status", "silent", "ended", "broken", "garbled"] as const;
/** Why the feed's event stream ended. */
export type StreamLoss = (typeof streamLosses)[number];

const limits = [
  "sockets_per_address", "sockets", "handshakes_per_address", "live_per_principal", "body", "header", "message", "directory",
  "questions", "questions_per_address",
] as const; // biome-ignore format: a list
export type Limit = (typeof limits)[number];

const upstreamReasons = [
  "node_unreachable", "upstream_broke", "upstream_invalid", "upstream_timeout", "overloaded",
] as const; // biome-ignore format: a list
export type UpstreamReason = (typeof upstreamReasons)[number];

const obstacles = [
  "refused", "timeout", "tls", "address", "no_address", "circuit", "unreachable",
] as const; // biome-ignore format: a list
export type Obstacle = (typeof obstacles)[number];

export interface PartMetrics {
  decided(route: Route, result: "allowed" | "denied"): void;
  /** How a credential was judged. */
  credentialJudged(result: "accepted" | "refused" | "failed"): void;
  /** Whether a source that has to ask knew a credential. */
  identityLookedUp(result: "hit" | "miss"): void;
  reauthorized(result: "kept" | "ended" | "failed"): void;
  indexLookedUp(result: LookupResult): void;
  /** Nodes of the directory by status; asked at each scrape. */
  readNodes(count: () => Readonly<Record<NodeEntry["status"], number>>): void;
  resynced(reason: ResyncReason): void;
  streamLost(loss: StreamLoss): void;
  /** A whole list was read. */
  listed(durationMs: number): void;
  /** A page of a list could not be had. */
  listFailed(): void;
  dialled(durationMs: number): void;
  upstreamFailed(reason: UpstreamReason): void;
  /** An exchange goes through a Nomad server, since its agent cannot be dialled. */
  throughServers(obstacle: Obstacle): void;
  /** An agent does not know an allocation that is placed there; what the registry says when it is asked anew. */
  misplaced(asked: "moved" | "same" | "unanswered"): void;
  /** One batch of nodes asked for their metadata. */
  metadataBatched(batch: { readonly size: number; readonly ok: boolean }): void;
  /** From an update to the registry that shows it. */
  metadataApplied(delayMs: number): void;
  auditRecorded(result: "started" | "event" | "ok" | "denied" | "failed" | "dropped"): void;
  limited(limit: Limit): void;
  reloaded(ok: boolean): void;
  linesSuppressed(count: number): void;
  uncaught(kind: "exception" | "rejection"): void;
}

const dialBuckets = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5];
const batchBuckets = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000];
const listBuckets = [0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300];
const delayBuckets = [0.5, 1, 2, 5, 8, 10, 12, 15, 20, 30, 60];

const createDecisions = (registry: Registry): PartMetrics["decided"] => {
  const cells = createCells<{ readonly capability: string; readonly result: string }>();
  new Counter({
    name: "serai_authz_decisions_total",
    help: "Decisions by the right that was asked for",
    labelNames: ["capability", "result"],
    registers: [registry],
    collect: countCells(cells.all),
  });
  const ofRight = cached((capability: string) => ({
    allowed: cells.cell({ capability, result: "allowed" }),
    denied: cells.cell({ capability, result: "denied" }),
  }));
  const of = cached((route: Route) => ofRight(rightLabel(route)));
  return (route, result) => {
    of(route)[result].value++;
  };
};

const createReloads = (registry: Registry): PartMetrics["reloaded"] => {
  const registers = [registry];
  const count = counter(
    registry,
    ["config_reloads_total", "Reloads of settings, policies and certificates", "result"],
    ["ok", "failed"],
  );
  const successful = new Gauge({
    name: "serai_config_last_reload_successful",
    help: "1 when the last reload was taken",
    registers,
  });
  const at = new Gauge({
    name: "serai_config_last_reload_success_timestamp_seconds",
    help: "When a reload was last taken",
    registers,
  });
  successful.set(1);
  at.setToCurrentTime();
  return (ok) => {
    count(ok ? "ok" : "failed");
    successful.set(ok ? 1 : 0);
    if (ok) at.setToCurrentTime();
  };
};

const createMetadata = (
  registry: Registry,
): Pick<PartMetrics, "metadataBatched" | "metadataApplied"> => {
  const batches = counter(
    registry,
    ["metadata_batches_total", "Batches of node metadata", "result"],
    ["ok", "failed"],
  );
  const sizes = histogram(registry, "metadata_batch_size", "Nodes in a batch", batchBuckets);
  const delays = histogram(
    registry,
    "metadata_apply_delay_seconds",
    "From an update to the registry that shows it",
    delayBuckets,
  );
  return {
    metadataBatched: ({ size, ok }) => {
      batches(ok ? "ok" : "failed");
      sizes.observe(size);
    },
    metadataApplied: (delayMs) => delays.observe(delayMs / 1000),
  };
};

const createFeed = (
  registry: Registry,
): Pick<PartMetrics, "resynced" | "streamLost" | "listed" | "listFailed"> => {
  const lists = histogram(
    registry,
    "index_list_duration_seconds",
    "Time to read a whole list from the feed's source",
    listBuckets,
  );
  const failures = total(registry, "index_list_failures_total", "Pages of lists not had");
  return {
    resynced: counter(
      registry,
      ["index_resyncs_total", "Full lists taken from the feed", "reason"],
      resyncReasons,
    ),
    streamLost: counter(
      registry,
      ["index_stream_losses_total", "Ends of the feed's event stream", "reason"],
      streamLosses,
    ),
    listed: (durationMs) => lists.observe(durationMs / 1000),
    listFailed: () => failures(),
  };
};

// biome-ignore format: a table
export const createPartMetrics = (registry: Registry): PartMetrics => {
  const dials = histogram(registry, "upstream_dial_duration_seconds", "Time to connect to an agent", dialBuckets);
  return {
    decided: createDecisions(registry),
    credentialJudged: counter(registry, ["credentials_total", "Credentials by how they were judged: accepted, refused, failed (nobody could say)", "result"], ["accepted", "refused", "failed"]),
    identityLookedUp: counter(registry, ["authz_cache_lookups_total", "Look-ups of tokens that a cluster's servers judge, and of JWTs: hit (known, or being asked for), miss (asked)", "result"], ["hit", "miss"]),
    reauthorized: counter(registry, ["live_reauthorizations_total", "Live exchanges decided again", "result"], ["kept", "ended", "failed"]),
    indexLookedUp: counter(registry, ["index_lookups_total", "Look-ups of allocations: hit (held), found or unknown (asked for), failed (nobody could say)", "result"], ["hit", "found", "unknown", "failed"]),
    readNodes: gauges(registry, ["nodes", "Nodes in the directory, by status", "status"]),
    ...createFeed(registry),
    dialled: (durationMs) => dials.observe(durationMs / 1000),
    upstreamFailed: counter(registry, ["upstream_failures_total", "Failures on the way to agents", "reason"], upstreamReasons),
    throughServers: counter(registry, ["reach_through_servers_total", "Exchanges through a Nomad server, by why their agent could not be dialled", "reason"], obstacles),
    misplaced: counter(registry, ["reach_misplaced_total", "Agents that did not know an allocation placed there, by what the registry then said", "result"], ["moved", "same", "unanswered"]),
    ...createMetadata(registry),
    auditRecorded: counter(registry, ["audit_events_total", "Audit records", "result"], ["started", "event", "ok", "denied", "failed", "dropped"]),
    limited: counter(registry, ["rate_limited_total", "Refusals at a limit", "limit"], limits),
    reloaded: createReloads(registry),
    linesSuppressed: total(registry, "log_lines_suppressed_total", "Log lines left out in a flood"),
    uncaught: counter(registry, ["uncaught_errors_total", "Errors nobody caught; the process ends", "kind"], ["exception", "rejection"]),
  };
};
