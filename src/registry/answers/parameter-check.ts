/**
 * The faults of a registry route's query that Nomad reports before it looks at the token (nomad-http.md §14): what
 * every route parses, then the route's own bools.
 */
import { failed, type GatewayError, invalidRequest, notFound } from "../../errors.ts";
import { commonParameters, listBool, type RawQuery } from "../../parameters.ts";

export interface AllocationFields {
  readonly resources: boolean;
  readonly taskStates: boolean;
}

export const allocationFields = (raw: RawQuery): AllocationFields => ({
  resources: listBool(raw, "resources", false),
  taskStates: listBool(raw, "task_states", true),
});

export interface NodeFields {
  readonly resources: boolean;
  readonly os: boolean;
}

const nodeFieldsFault = (words: string): GatewayError =>
  invalidRequest(`Failed to parse node list fields: ${words}`);

export const nodeFields = (raw: RawQuery): NodeFields => ({
  resources: listBool(raw, "resources", false, nodeFieldsFault),
  os: listBool(raw, "os", false, nodeFieldsFault),
});

/** How a stop is to be done; serai's agents read neither, Nomad's faults are kept. */
export const stopFields = (raw: RawQuery): void => {
  listBool(raw, "no_shutdown_delay", false);
  listBool(raw, "reschedule", false);
};

export const withRelated = (raw: RawQuery): boolean => listBool(raw, "related", false);

export const withMeta = (raw: RawQuery): boolean => listBool(raw, "meta", false);

export const withDiffs = (raw: RawQuery): boolean => listBool(raw, "diffs", false);

export const volumeKind = (raw: RawQuery): "csi" | "host" | undefined => {
  const kind = raw.get("type")?.[0];
  if (kind === undefined || kind === "csi" || kind === "host") return kind;
  throw notFound("resource not found");
};

/** What a route parses before what every route parses. */
const firstFields = new Map<string, (raw: RawQuery) => unknown>([
  ["alloc.stop", stopFields],
  ["job.versions", withDiffs],
  ["volumes.list", volumeKind],
]);

/** The bools of a route, behind what every route parses. */
const ownFields = new Map<string, (raw: RawQuery) => unknown>([
  ["allocs.list", allocationFields],
  ["nodes.list", nodeFields],
  ["evaluation.read", withRelated],
  ["jobs.list", withMeta],
]);

/** Routes that ignore what the others parse. A stop is a write: it has no index, wait or page. */
const withoutCommon: ReadonlySet<string> = new Set([
  "agent.self",
  "agent.servers",
  "alloc.stop",
  "serai.announce",
]);

/** Routes that another region would have to answer. */
const withoutRegion: ReadonlySet<string> = new Set([
  "agent.self",
  "agent.members",
  "agent.servers",
  "regions.list",
  "serai.announce",
]);

/** What SDKs send on a second hop when their user named no region (nomad-clients.md §1.3). */
const everyRegion = "global";

export const checkRegion = (routeName: string, raw: RawQuery, region: string): void => {
  const asked = raw.get("region")?.[0] ?? "";
  if (asked === "" || asked === region || asked === everyRegion) return;
  if (!withoutRegion.has(routeName)) throw failed("No path to region");
};

/**
 * Throws the first fault, in Nomad's order and words. Call it before authentication; the answers themselves check the
 * same again. With `region`, a request for another one is refused here too, as Nomad forwards before it authenticates.
 */
export const registryParameterCheck = (routeName: string, raw: RawQuery, region?: string): void => {
  firstFields.get(routeName)?.(raw);
  if (!withoutCommon.has(routeName)) commonParameters(raw);
  ownFields.get(routeName)?.(raw);
  if (region !== undefined) checkRegion(routeName, raw, region);
};
