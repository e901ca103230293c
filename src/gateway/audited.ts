/** What the audit tells of an exchange, as members of its records: written once for all who ask alike for the same target. */
import { decodeCommand } from "../bodies.ts";
import { upstreamDecides } from "../live/ledger.ts";
import { pathTemplate } from "../nomad/path-template.ts";
import { type AuditMembers, type AuditSubject, auditMembers } from "../observe/audit.ts";
import type { Exchange, Principal, Scope } from "../ports.ts";
import { isPassed } from "../routes.ts";

/** What was last audited of a target, with all in it that other requests for the same may have otherwise. */
interface Audited
  extends Pick<AuditSubject, "accessor" | "upstream" | "address" | "node" | "namespace"> {
  readonly members: AuditMembers;
}

declare module "../lib/kept.ts" {
  interface Derived {
    audited?: Audited;
  }
}

const argvOf = (command: unknown): readonly string[] | undefined => {
  if (typeof command !== "string") return undefined;
  try {
    return decodeCommand(command);
  } catch {
    return undefined; // refused as such; the record does without
  }
};

const textOf = (value: unknown): string | undefined =>
  typeof value === "string" && value !== "" ? value : undefined;

const namespaceOf = (scope: Scope | undefined): string | undefined => {
  if (scope?.kind === "allocation") return scope.placement.namespace;
  return scope?.kind === "namespace" ? scope.namespace : undefined;
};

const nodeOf = (exchange: Exchange, scope: Scope | undefined): string | undefined => {
  if (scope?.kind === "allocation") return scope.placement.nodeId;
  const { key } = exchange.route;
  return key === "node" || key === "node_of_path" ? exchange.key : undefined;
};

/** Of a request that is passed on its path says what it is about; a socket's query says more. Who asks the servers know. */
export const passedSubjectOf = (
  {
    route,
    method,
    key,
    raw,
    client,
  }: Pick<Exchange, "route" | "method" | "key" | "raw" | "client">,
  kind: AuditSubject["kind"],
): AuditSubject => {
  const given = (name: string): string | undefined => textOf(raw.get(name)?.[0]);
  const isSocket = route.carriage === "websocket";
  return {
    route: route.name,
    kind,
    accessor: upstreamDecides,
    address: client.address,
    method,
    template: pathTemplate(key),
    path: key,
    namespace: given("namespace"),
    allocation: isSocket ? given("allocID") : undefined,
    task: isSocket ? given("task") : undefined,
    argv: isSocket ? argvOf(given("command")) : undefined,
  };
};

const ownMembersOf = (
  exchange: Exchange,
  kind: AuditSubject["kind"],
  principal: Principal | undefined,
  scope: Scope | undefined,
): AuditMembers => {
  const { derived, route, client, key, parameters, body } = exchange;
  const { accessorId: accessor, upstream } = principal ?? {};
  const { address } = client;
  const node = nodeOf(exchange, scope);
  const namespace = namespaceOf(scope);
  const known = derived.audited;
  if (
    known?.accessor === accessor &&
    known?.upstream === upstream &&
    known?.address === address &&
    known.node === node &&
    known.namespace === namespace
  )
    return known.members;
  const members = auditMembers({
    route: route.name,
    kind,
    accessor,
    address,
    allocation: route.key.startsWith("allocation") ? key : undefined,
    node,
    namespace,
    task: textOf(parameters["task"]) ?? textOf(body?.["Task"]) ?? textOf(body?.["TaskName"]),
    path: textOf(parameters["path"]),
    argv: argvOf(parameters["command"]),
    upstream,
  });
  derived.audited = { accessor, upstream, address, node, namespace, members };
  return members;
};

/** For both of its records. Nothing of what is not known yet is in it. */
export const audited = (
  exchange: Exchange,
  kind: AuditSubject["kind"],
  principal: Principal | undefined,
  scope?: Scope,
): AuditMembers =>
  isPassed(exchange.route)
    ? auditMembers(passedSubjectOf(exchange, kind))
    : ownMembersOf(exchange, kind, principal, scope);
