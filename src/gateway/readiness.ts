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

const registryHealth = ({ state, lagMs, trouble }: Feed): Health => {
  switch (state) {
    case "ready":
      return trouble === undefined ? ok : degraded(trouble);
    case "syncing":
      return failed(trouble === undefined ? "not synced yet" : `not synced yet: ${trouble}`);
    case "stale": {
      const silence = `its source was not heard for ${Math.round(lagMs / 1_000)} s`;
      return degraded(trouble === undefined ? silence : `${silence}: ${trouble}`);
    }
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
