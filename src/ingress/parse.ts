/** Parses a request into an Exchange, in Nomad's order of checks (nomad-http.md §14): what is wrong is said before any look-up. */
import { maxAnnouncementBytes, parseBody } from "../bodies.ts";
import { invalidRequest } from "../errors.ts";
import { readBody } from "../http/body.ts";
import type { JsonObject } from "../lib/json.ts";
import type { Derived } from "../lib/kept.ts";
import { commonParameters, isPretty, one, type Parameters, type RawQuery } from "../parameters.ts";
import type { HttpRequest } from "../ports.ts";
import type { Route } from "../routes.ts";
import { checkRegion } from "./region.ts";

/** What the row says about a request, read off it. */
export interface Parsed {
  readonly route: Route;
  readonly key: string;
  readonly parameters: Parameters;
  readonly body: JsonObject | undefined;
  readonly pretty: boolean;
  readonly derived: Derived;
}

export interface ParseNeeds {
  readonly region: string;
  /** Bytes of a caller's body. */
  readonly maxBodyBytes: number;
  /** Milliseconds it may take. */
  readonly bodyTimeoutMs?: number | undefined;
  /** The faults of a registry route's query, its region among them, in Nomad's order. */
  readonly checkRegistryParameters: (routeName: string, raw: RawQuery) => void;
}

/** The body that a row takes. Throws Nomad's refusals. */
export const readRowBody = async (
  request: HttpRequest,
  route: Route,
  { maxBodyBytes, bodyTimeoutMs }: ParseNeeds,
): Promise<JsonObject | undefined> => {
  if (route.body === "none") return undefined;
  const maxBytes = route.body === "announce" ? maxAnnouncementBytes : maxBodyBytes;
  return parseBody(route.body, await readBody(request, maxBytes, bodyTimeoutMs));
};

/** `node_id` of the query wins over `NodeID` of the body (nomad-http.md §3.2). */
const nodeKey = (raw: RawQuery, body: JsonObject | undefined): string => {
  const fromBody = body?.["NodeID"];
  const key = one(raw, "node_id") || (typeof fromBody === "string" ? fromBody : "");
  if (key === "") throw invalidRequest("No local Node and node_id not provided");
  return key;
};

const checkFileId = (route: Route, id: string): void => {
  if (route.name.startsWith("fs.") && id === "")
    throw invalidRequest("must provide a valid alloc id");
};

/** Reads key and parameters of a request for a row. Throws Nomad's refusals. */
export const parseRequest =
  ({ region, checkRegistryParameters }: ParseNeeds) =>
  (route: Route, id: string, raw: RawQuery, body: JsonObject | undefined): Parsed => {
    checkFileId(route, id);
    const parameters = route.parameters(raw);
    const parsed = { route, parameters, body, pretty: isPretty(raw), derived: {} };
    if (route.carriage === "registry") {
      checkRegistryParameters(route.name, raw);
      return { ...parsed, key: id };
    }
    const common = commonParameters(raw);
    const key = route.key === "node" ? nodeKey(raw, body) : id;
    checkRegion(common.region, region);
    return { ...parsed, key };
  };
