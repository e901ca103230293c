/** One request at the agent's door and what its answers need. No code here. */
import type { ServerResponse } from "node:http";
import type { Json, JsonObject } from "../../lib/json.ts";
import type { CommonParameters, Parameters, RawQuery } from "../../parameters.ts";
import type { Authenticate, Clock, Credential, Log } from "../../ports.ts";
import type { Route } from "../../routes.ts";
import type { ExecSessions } from "../exec/sessions.ts";
import type { FileHandlers } from "../files/handlers.ts";
import type { MetadataStore } from "../metadata.ts";
import type { NodeIdentity, Workloads } from "../ports.ts";
import type { PullSecrets } from "./secrets.ts";

export interface DoorNeeds {
  readonly node: Pick<NodeIdentity, "id" | "name" | "datacenter" | "region">;
  readonly workloads: Workloads;
  readonly authenticate: Authenticate;
  /** Keyed by route name: `fs.ls`, `fs.logs`, ... */
  readonly files: FileHandlers;
  readonly metadata: MetadataStore;
  readonly nodeStats: () => Json | Promise<Json>;
  readonly execSessions: ExecSessions;
  readonly pullSecrets: PullSecrets;
  readonly log: Log;
  readonly clock: Clock;
}

export interface Ask {
  readonly route: Route;
  readonly key: string;
  readonly raw: RawQuery;
  readonly parameters: Parameters;
  readonly common: CommonParameters;
  readonly body: JsonObject | undefined;
  readonly credential: Credential;
  readonly response: ServerResponse;
  /** Aborts when the caller leaves or the agent closes; reason: GatewayError. */
  readonly signal: AbortSignal;
}
