/** What the embedded registry tells of itself: to the audit log and to the metrics. */
import type { BatcherObserver } from "../metadata-batcher.ts";
import type { DropReason } from "./allocation-document.ts";

/** What the audit log is told. */
export interface RegistryEvent {
  readonly kind:
    | "node_joined"
    | "node_readdressed"
    | "node_down"
    | "join_refused"
    | "rival_allocation"
    | "foreign_allocation"
    /** A stop waits for its node; its agent has carried it out; there was nothing to stop any more. */
    | "stop_deferred"
    | "stop_delivered"
    | "stop_dropped";
  readonly nodeId: string;
  readonly allocationId?: string;
  readonly address?: string;
  readonly from?: string;
  readonly reason?: string;
}

export interface RegistryObserver {
  audit(event: RegistryEvent): void;
  /** A document of an agent's answer was not taken. */
  dropped(reason: DropReason): void;
  pulled(result: "ok" | "failed"): void;
  readonly metadata: BatcherObserver;
}

export const silentObserver: RegistryObserver = {
  audit: () => {},
  dropped: () => {},
  pulled: () => {},
  metadata: { batched: () => {}, applied: () => {} },
};

const maxClaims = 10_000;

/** Tells what was dropped; a claim on what is another's is audited once, though its agent repeats it each time. */
export const createDropped = (
  observe: RegistryObserver,
): ((nodeId: string, reason: DropReason, allocationId: string | undefined) => void) => {
  const claims = new Set<string>();
  return (nodeId, reason, allocationId) => {
    observe.dropped(reason);
    if (allocationId === undefined || (reason !== "rival" && reason !== "foreign_node")) return;
    const claim = `${nodeId} ${allocationId}`;
    if (claims.has(claim)) return;
    if (claims.size >= maxClaims) claims.clear();
    claims.add(claim);
    const kind = reason === "rival" ? "rival_allocation" : "foreign_allocation";
    observe.audit({ kind, nodeId, allocationId });
  };
};
