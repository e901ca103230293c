/** What `/readyz?verbose` asks, by name. */
import type { ServerConfig } from "../config/server-schema.ts";
import type { Health, HealthCheck } from "../ingress/admin.ts";
import type { Audit } from "../observe/audit.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { Feed } from "../registry/feed.ts";

export interface ReadinessNeeds {
  readonly config: ServerConfig;
  readonly feed: Feed;
  readonly audit: Audit;
  readonly metrics: Metrics;
  readonly isDraining: () => boolean;
}

const ok: Health = { state: "ok" };
const failed = (reason: string): Health => ({ state: "failed", reason });
const degraded = (reason: string): Health => ({ state: "degraded", reason });

const registryHealth = (feed: Feed): Health => {
  switch (feed.state) {
    case "ready":
      return ok;
    case "syncing":
      return failed("not synced yet");
    case "stale":
      return degraded(`its source was not heard for ${Math.round(feed.lagMs / 1_000)} s`);
  }
};

export const createReadiness = (needs: ReadinessNeeds): readonly HealthCheck[] => [
  { name: "accepting", check: () => (needs.isDraining() ? failed("shutting down") : ok) },
  { name: "registry", check: () => registryHealth(needs.feed) },
  {
    name: "audit",
    check: () => {
      const { failing } = needs.audit.state;
      if (failing === undefined) return ok;
      return needs.config.audit.required ? failed(failing) : degraded(failing);
    },
  },
  {
    name: "event loop",
    check: () => {
      const stall = needs.metrics.loop.stalled();
      return stall === undefined ? ok : failed(stall);
    },
  },
];
