/**
 * Nomad's JSON documents as far as serai makes or reads them, with Nomad's field names (nomad-http.md §§4, 6, 9, 10).
 * Times named `...Time` and `Timestamp` are nanoseconds as `bigint`; integers of 64 bits are written whole.
 */
import type { Json, JsonObject } from "./lib/json.ts";

export interface TaskEvent {
  readonly Type: string;
  readonly Time: bigint;
  readonly Message: string;
  readonly DisplayMessage: string;
  readonly Details: Readonly<Record<string, string>>;
  readonly [deprecated: string]: Json;
}

export interface TaskState {
  readonly State: "pending" | "running" | "dead";
  readonly Failed: boolean;
  readonly Restarts: number;
  readonly LastRestart: string | null;
  readonly StartedAt: string | null;
  readonly FinishedAt: string | null;
  /** The last ten. */
  readonly Events: readonly TaskEvent[];
  readonly Paused: string;
}

export type ClientStatus = "pending" | "running" | "complete" | "failed" | "lost" | "unknown";

/** A full allocation as `GET /v1/allocation/:id` gives it, `Job` included. */
export interface AllocationDocument {
  readonly ID: string;
  readonly Namespace: string;
  readonly EvalID: string;
  readonly Name: string;
  readonly NodeID: string;
  readonly NodeName: string;
  readonly JobID: string;
  readonly Job: JsonObject;
  readonly TaskGroup: string;
  readonly AllocatedResources: Json;
  readonly DesiredStatus: "run" | "stop" | "evict";
  readonly DesiredDescription?: string;
  readonly ClientStatus: ClientStatus;
  readonly ClientDescription?: string;
  readonly TaskStates: Readonly<Record<string, TaskState>> | null;
  readonly CreateIndex: number;
  readonly ModifyIndex: number;
  readonly CreateTime: bigint;
  readonly ModifyTime: bigint;
  readonly [field: string]: unknown;
}

export interface NodeDocument {
  readonly ID: string;
  readonly Name: string;
  readonly Datacenter: string;
  readonly NodePool: string;
  readonly NodeClass: string;
  /** `host:port` that the gateway dials; masked before it reaches a caller. */
  readonly HTTPAddr: string;
  readonly TLSEnabled: boolean;
  readonly Status: "initializing" | "ready" | "down" | "disconnected";
  readonly SchedulingEligibility: "eligible" | "ineligible";
  readonly Attributes: Readonly<Record<string, string>>;
  readonly Meta: Readonly<Record<string, string>>;
  readonly CreateIndex: number;
  readonly ModifyIndex: number;
  readonly [field: string]: unknown;
}

/** `GET` and `POST /v1/client/metadata` (nomad-http.md §3). */
export interface MetadataDocument {
  readonly Meta: Readonly<Record<string, string>>;
  readonly Dynamic: Readonly<Record<string, string | null>>;
  readonly Static: Readonly<Record<string, string>>;
}
