/** `/v1/namespaces`: those that hold an allocation, and `default`, as far as the caller has a right in them. */
import { createHash } from "node:crypto";
import { present } from "./allocations.ts";
import type { Block } from "./blocking.ts";
import type { Answering, AnswerNeeds } from "./needs.ts";
import { compareText } from "./paging.ts";

/** In Nomad's order. */
export const namespacesOf = ({ registry }: Pick<AnswerNeeds, "registry">): readonly string[] => {
  const names = new Set(["default"]);
  for (const { Namespace } of registry.allocations()) names.add(Namespace);
  return [...names].sort(compareText);
};

const toNamespace = (Name: string): object => ({
  Name,
  Description: Name === "default" ? "Default shared namespace" : "",
  Quota: "",
  Capabilities: null,
  NodePoolConfiguration: null,
  VaultConfiguration: null,
  ConsulConfiguration: null,
  Meta: null,
  Hash: createHash("sha256").update(Name).digest("base64"),
  CreateIndex: 1,
  ModifyIndex: 1,
  RequiredExtraClaims: null,
  OptionalExtraClaims: null,
});

export const listNamespaces =
  ({ registry }: AnswerNeeds, block: Block): Answering =>
  ({ exchange, acl, common }) =>
    block("allocs", common, exchange.signal, () => {
      const shown = namespacesOf({ registry }).filter(
        (name) => name.startsWith(common.prefix) && acl().anyIn(name),
      );
      return present(shown.map(toNamespace), registry.index("allocs"));
    });
