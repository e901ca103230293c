/**
 * May this principal do that to this? The rule is the route's row, the namespace is the resolved scope's own: never what
 * the query says (nomad-acl.md §4.2).
 */
import { GatewayError } from "../errors.ts";
import type { Acl, Exchange, Principal, Scope } from "../ports.ts";
import type { Route, Rule } from "../routes.ts";

const namespaceOf = (scope: Scope): string | undefined => {
  switch (scope.kind) {
    case "allocation":
      return scope.placement.namespace;
    case "namespace":
      return scope.namespace;
    case "node":
    case "cluster":
      return undefined;
  }
};

/** Pure decision. A rule about a namespace holds nowhere that has none. */
export const permits = (acl: Acl, rule: Rule, scope: Scope): boolean => {
  switch (rule.on) {
    case "namespace": {
      const namespace = namespaceOf(scope);
      if (namespace === undefined) return false;
      return rule.anyOf.some((capability) => acl.namespace(namespace, capability));
    }
    case "node":
      return acl.node(rule.level);
    case "agent":
      return acl.agent(rule.level);
    case "answer":
    case "nobody":
      return true;
  }
};

const isolating: ReadonlySet<string> = new Set(["chroot", "image", "unveil"]);

/**
 * exec's second right: where the task's driver does not isolate the file system, `alloc-node-exec` is needed as well
 * (nomad-acl.md §4.3). An isolation that is not known counts as none.
 */
export const mayExecOnNode = (acl: Acl, namespace: string, isolation: string): boolean =>
  isolating.has(isolation) || acl.namespace(namespace, "alloc-node-exec");

/** The agent asks for exec's second right itself, but of the service token, which may hold more than its caller. */
const mayRun = ({ acl, upstream }: Principal, scope: Scope, { name }: Route): boolean =>
  name !== "alloc.exec" ||
  upstream === undefined ||
  mayExecOnNode(acl, namespaceOf(scope) ?? "", "unknown");

/** The step of the journey. Throws `permission_denied`. */
export const authorize = (
  principal: Principal,
  scope: Scope,
  { route }: Pick<Exchange, "route">,
): void => {
  if (!permits(principal.acl, route.rule, scope) || !mayRun(principal, scope, route))
    throw new GatewayError("permission_denied");
};
