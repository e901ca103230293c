/**
 * What of a request to the servers a JWT of a configured issuer gives its holder. The servers would decide for the service
 * token, which may hold more: so only what the route table can decide here is let pass, and all else is refused. Pure but for
 * the directory.
 */
import { permits } from "../acl/authorize.ts";
import { failed, GatewayError, notFound } from "../errors.ts";
import { checkRegion } from "../ingress/region.ts";
import { readTarget } from "../ingress/target.ts";
import { canonicalUuid, uuidFault } from "../lib/uuid.ts";
import { commonParameters, parseQuery } from "../parameters.ts";
import type { Directory, Principal } from "../ports.ts";
import { type Route, type Rule, routes } from "../routes.ts";

/** With whose credential it goes on. `nobody`: no right is needed, and none is shown. */
export type Shown = "service" | "nobody";

export interface Asked {
  readonly method: string;
  /** Decoded and plain, or encoded where it has to be. */
  readonly path: string;
  readonly namespace: string;
  readonly row: Route | undefined;
  /** The id in the path, where the row has one. */
  readonly key: string;
}

const isKey = (part: string): boolean => /^[:*]id$/.test(part);

const rows = routes
  .filter(({ carriage, name }) => carriage === "registry" && !name.startsWith("serai."))
  .map((row) => ({ row, parts: row.path.split("/") }));

/** A row that takes any method only reads: for a write somebody has to have said so. */
const takes = ({ methods = ["GET"] }: Route, method: string): boolean => methods.includes(method);

const matches = (parts: readonly string[], segments: readonly string[]): boolean =>
  parts.length === segments.length &&
  parts.every((part, at) => (isKey(part) ? segments[at] !== "" : part === segments[at]));

const refuse = (text: string): GatewayError => new GatewayError("bad_request", { text });

/** Go leaves such pairs out; two readers of them might not agree on the namespace. */
const ambiguous = /;|%(?![0-9a-fA-F]{2})/;

/** Throws `bad_request`, Nomad's 400s, and its 500 for another region, whose policies nobody knows here. */
export const readAsked = (method: string, url: string, region: string): Asked => {
  const target = readTarget(url);
  if (target.kind === "redirect") throw refuse("the path holds an empty or a . segment");
  const { path, query } = target;
  if (ambiguous.test(query))
    throw refuse("the query holds a semicolon or a % that must be percent-encoded");
  const { namespace, region: asked } = commonParameters(parseQuery(query));
  checkRegion(asked, region);
  const segments = path.split("/");
  const found = rows.find(({ row, parts }) => takes(row, method) && matches(parts, segments));
  const key = found === undefined ? "" : (segments[found.parts.findIndex(isKey)] ?? "");
  return { method, path, namespace, row: found?.row, key: decodeURIComponent(key) };
};

/** The UI's files, and how a caller logs in: Nomad looks at no credential there. */
const open = /^\/(?:ui(?:\/.*)?|v1\/acl\/(?:auth-methods|login|oidc\/[a-z-]+))?$/;

/** What servers read at the end of a job's decoded path, whose id may hold slashes: then it is no job that is asked for. */
const verbOfJob =
  /\/(?:actions?|allocations|deployments?|dispatch|evaluate|evaluations|force|payload|plan|revert|scale|services|stable|submission|summary|tag|versions)$/;

/** Where a manager reads other tokens' secrets, the service token's among them. */
const tellsSecrets = /^\/v1\/(?:acl\/token\/|operator\/snapshot)/;

const denied = (reason?: string): GatewayError =>
  new GatewayError("permission_denied", reason === undefined ? {} : { reason });

const everyNamespace =
  "a JWT whose policies do not give it in every namespace has to name one; give -namespace";

type NamespaceRule = Extract<Rule, { readonly on: "namespace" }>;

const checkNamespace = ({ acl }: Principal, { anyOf }: NamespaceRule, namespace: string): void => {
  if (namespace === "*") {
    if (!anyOf.some((capability) => acl.everywhere(capability))) throw denied(everyNamespace);
  } else if (!anyOf.some((capability) => acl.namespace(namespace, capability))) throw denied();
};

const forManagers = ({ method, path }: Asked): Shown => {
  if (method === "TRACE" || tellsSecrets.test(path)) throw denied();
  return "service";
};

/** Where the servers would read more out of a path than its row says, with the service token's rights. Throws. */
const checkReach = ({ acl }: Principal, row: string, key: string): void => {
  if (row === "job.read" && verbOfJob.test(key)) throw denied();
  // `/v1/node/pools` lists what the service token may read of them
  if (row === "node.read" && uuidFault(key) !== undefined) throw denied();
  // the servers leave out what the token may not read
  if (row === "node.allocations" && !acl.everywhere("read-job")) throw denied();
};

/** Throws `permission_denied`, and Nomad's words for an allocation that is not there. */
export type ServiceRights = (
  principal: Principal,
  asked: Asked,
  signal: AbortSignal,
) => Promise<Shown>;

export const createServiceRights = (
  directory: Pick<Directory, "allocation" | "find">,
): ServiceRights => {
  const namespaceOf = async (key: string, words: string, signal: AbortSignal): Promise<string> => {
    const fault = uuidFault(key);
    if (fault !== undefined) throw failed(`alloc lookup failed: index error: ${fault}`);
    const id = canonicalUuid(key);
    const placement = directory.allocation(id) ?? (await directory.find(id, signal));
    if (placement === undefined) throw notFound(words);
    return placement.namespace;
  };

  const onAllocation = async (
    { acl }: Principal,
    { key }: Asked,
    capability: string,
    words: string,
    signal: AbortSignal,
  ): Promise<Shown> => {
    const namespace = await namespaceOf(key, words, signal);
    if (!acl.namespace(namespace, capability)) throw denied();
    return "service";
  };

  const byRule = (principal: Principal, { rule }: Route, namespace: string): Shown => {
    if (rule.on === "nobody") return "nobody";
    if (rule.on === "answer") throw denied();
    if (rule.on === "namespace") checkNamespace(principal, rule, namespace);
    else if (!permits(principal.acl, rule, { kind: "cluster" })) throw denied();
    return "service";
  };

  return async (principal, asked, signal) => {
    const { row, path, namespace } = asked;
    if (open.test(path)) return "nobody";
    if (principal.acl.management) return forManagers(asked);
    if (row === undefined) throw denied();
    switch (row.name) {
      case "alloc.read":
        return onAllocation(principal, asked, "read-job", "alloc not found", signal);
      case "alloc.stop":
        return onAllocation(principal, asked, "alloc-lifecycle", "allocation not found", signal);
    }
    checkReach(principal, row.name, asked.key);
    return byRule(principal, row, namespace);
  };
};
