/** A route's rule asked of a principal at the node: the allocation's own namespace decides (nomad-acl.md). */
import { GatewayError } from "../../errors.ts";
import type { Principal } from "../../ports.ts";
import type { Rule } from "../../routes.ts";

const permits = ({ acl }: Principal, rule: Rule, namespace: string): boolean => {
  switch (rule.on) {
    case "namespace":
      return rule.anyOf.some((capability) => acl.namespace(namespace, capability));
    case "node":
      return acl.node(rule.level);
    case "agent":
      return acl.agent(rule.level);
    case "answer":
    case "nobody":
      return rule.on === "nobody";
  }
};

/** Throws `permission_denied`. */
export const requireRight = (principal: Principal, rule: Rule, namespace = ""): void => {
  if (!principal.acl.management && !permits(principal, rule, namespace))
    throw new GatewayError("permission_denied");
};

/** The tasks run without a file system of their own, so exec needs the right to the node's as well. */
export const nodeExec: Rule = { on: "namespace", anyOf: ["alloc-node-exec"] };
