/** `/v1/allocations`, `/v1/allocation/:id` and what hangs below it (nomad-http.md §9). */
import type { AllocationDocument } from "../../documents.ts";
import { failed, notFound } from "../../errors.ts";
import type { Answer, Answered } from "../../ports.ts";
import { allocationType } from "../filter/allocation-type.ts";
import { toAllocationStub, toFullAllocation } from "./allocation-shape.ts";
import { type Block, metaHeaders, type Result } from "./blocking.ts";
import { namespaceTest } from "./documents.ts";
import { lookupId, prefixTest } from "./ids.ts";
import type { Answering, AnswerNeeds, Asked } from "./needs.ts";
import { byCreateIndex, byId, compareText, page } from "./paging.ts";
import { allocationFields, checkRegion, stopFields } from "./parameter-check.ts";
import { registeredBy } from "./services.ts";

export const idOrder = (one: AllocationDocument, other: AllocationDocument): number =>
  compareText(one.ID, other.ID);

/** What the caller may see of the namespace and prefix, in the list's order. */
const selected = ({ registry }: AnswerNeeds, { acl, namespace, common }: Asked) => {
  const shown = namespaceTest(acl(), namespace, "read-job");
  const begins = prefixTest("alloc", common.prefix);
  const items = [...registry.allocations()].filter(
    ({ ID, Namespace }) => shown(Namespace) && begins(ID),
  );
  if (common.prefix !== "") items.sort(idOrder);
  return common.reverse ? items.toReversed() : items;
};

export const listAllocations =
  (needs: AnswerNeeds, block: Block): Answering =>
  (asked) => {
    const { common, exchange } = asked;
    const fields = allocationFields(exchange.raw);
    const order = common.prefix === "" ? byCreateIndex : byId;
    return block("allocs", common, exchange.signal, async (): Promise<Result> => {
      const index = needs.registry.index("allocs");
      const items = selected(needs, asked);
      const { items: shown, nextToken } = await page(
        items,
        order,
        allocationType,
        common,
        exchange.signal,
      );
      return {
        index,
        answered: {
          document: shown.map((item) => toAllocationStub(item, fields)),
          headers: metaHeaders(index, nextToken),
        },
      };
    });
  };

/** Nomad's 404 with the index headers: a watcher of what does not exist yet needs them. */
export const absent = (words: string, index: number): Result => ({
  index,
  answered: { refusal: notFound(words), headers: metaHeaders(index) },
});

export const present = (document: unknown, index: number): Result => ({
  index,
  answered: { document, headers: metaHeaders(index) },
});

export const readAllocation =
  ({ registry }: AnswerNeeds, block: Block): Answering =>
  ({ exchange, acl, common }) => {
    const id = lookupId("alloc", exchange.key);
    return block("allocs", common, exchange.signal, () => {
      const document = registry.allocation(id);
      if (document === undefined) return absent("alloc not found", registry.index("allocs"));
      if (!acl().namespace(document.Namespace, "read-job"))
        throw failed(`Unknown allocation "${exchange.key}"`);
      return present(toFullAllocation(document), document.ModifyIndex);
    });
  };

/** Unlike a read it looks only into the namespace of the query. */
export const readServices =
  (needs: AnswerNeeds, block: Block): Answering =>
  ({ exchange, common, namespace }) => {
    const { registry } = needs;
    const id = lookupId("alloc", exchange.key);
    return block("allocs", common, exchange.signal, () => {
      const index = registry.index("allocs");
      const document = registry.allocation(id);
      if (document?.Namespace !== namespace) return absent("allocation not found", index);
      return present(registeredBy(needs, document), index);
    });
  };

/** A write: it answers with the index of the evaluation that it made, and waits for nothing else. */
export const stopAllocation =
  ({ registry, self }: AnswerNeeds): Answer =>
  async (exchange): Promise<Answered> => {
    stopFields(exchange.raw);
    checkRegion(exchange.route.name, exchange.raw, self.region);
    const id = lookupId("alloc", exchange.key);
    if (registry.allocation(id) === undefined) throw notFound("allocation not found");
    const { evaluationId, index } = await registry.stop(id, exchange.credential, exchange.signal);
    return {
      document: { EvalID: evaluationId, Index: index },
      headers: { "X-Nomad-Index": String(index) },
    };
  };
