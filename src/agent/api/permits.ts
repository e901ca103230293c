/** The rights at the node: the same rules as at the gateway, asked of the allocation's own namespace. */
import { mayExecOnNode, permits } from "../../acl/authorize.ts";
import { GatewayError } from "../../errors.ts";
import type { Principal } from "../../ports.ts";
import type { Rule } from "../../routes.ts";

/** Throws `permission_denied`. A rule about a namespace holds nowhere that has none. */
export const requireRight = ({ acl }: Principal, rule: Rule, namespace?: string): void => {
  const scope =
    namespace === undefined
      ? ({ kind: "cluster" } as const)
      : ({ kind: "namespace", namespace } as const);
  if (!permits(acl, rule, scope)) throw new GatewayError("permission_denied");
};

/** Throws `permission_denied`: the tasks run without a file system of their own. */
export const requireNodeExec = ({ acl }: Principal, namespace: string): void => {
  if (!mayExecOnNode(acl, namespace, "none")) throw new GatewayError("permission_denied");
};
