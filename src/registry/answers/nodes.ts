/** `/v1/nodes`, `/v1/node/:id` and a node's allocations (nomad-http.md §10). */
import { failed } from "../../errors.ts";
import { canonicalUuid, uuidFault } from "../../lib/uuid.ts";
import { nodeType } from "../filter/node-type.ts";
import { toFullAllocation } from "./allocation-shape.ts";
import { absent, idOrder, present } from "./allocations.ts";
import { type Block, metaHeaders, type Result } from "./blocking.ts";
import { permittedTest } from "./documents.ts";
import { lookupId, prefixTest } from "./ids.ts";
import type { Answering, AnswerNeeds } from "./needs.ts";
import { toFullNode, toNodeStub } from "./node-shape.ts";
import { byId, page } from "./paging.ts";
import { nodeFields } from "./parameter-check.ts";

export const listNodes =
  ({ registry }: AnswerNeeds, block: Block): Answering =>
  ({ exchange, common }) => {
    const fields = nodeFields(exchange.raw);
    return block("nodes", common, exchange.signal, async (): Promise<Result> => {
      const index = registry.index("nodes");
      const begins = prefixTest("node", common.prefix);
      const items = [...registry.nodes()].filter(({ ID }) => begins(ID));
      const { items: shown, nextToken } = await page(
        items,
        byId,
        nodeType,
        common,
        exchange.signal,
      );
      return {
        index,
        answered: {
          document: shown.map((node) => toNodeStub(node, fields)),
          headers: metaHeaders(index, nextToken),
        },
      };
    });
  };

export const readNode =
  ({ registry, self }: AnswerNeeds, block: Block): Answering =>
  ({ exchange, common }) => {
    if (exchange.key === "") throw failed("missing node ID");
    const id = lookupId("node", exchange.key);
    const { authority, scheme } = exchange.client;
    const mask = { authority: authority === "" ? self.address : authority, scheme };
    return block("nodes", common, exchange.signal, () => {
      const node = registry.node(id);
      if (node === undefined) return absent("node not found", registry.index("nodes"));
      return present(toFullNode(node, mask), node.ModifyIndex);
    });
  };

/** An unknown or malformed id has no allocations; the index is that of the node's own, whoever may see them. */
export const readNodeAllocations =
  ({ registry }: AnswerNeeds, block: Block): Answering =>
  ({ exchange, acl, common }) => {
    const nodeId = uuidFault(exchange.key) === undefined ? canonicalUuid(exchange.key) : undefined;
    return block("allocs", common, exchange.signal, () => {
      const shown = permittedTest(acl(), "read-job");
      const own = [...registry.allocations()].filter(({ NodeID }) => NodeID === nodeId);
      const index = own.reduce((highest, { ModifyIndex }) => Math.max(highest, ModifyIndex), 0);
      const items = own.filter(({ Namespace }) => shown(Namespace)).sort(idOrder);
      return present(items.map(toFullAllocation), index || registry.index("allocs"));
    });
  };
