/**
 * Deployments are made by Nomad's scheduler. Where workloads are declared at their nodes there are none, and clients that
 * ask (`job status`, `job restart`) are told so in Nomad's form.
 */
import { failed } from "../../errors.ts";
import { prefixFault } from "../../lib/uuid.ts";
import type { Answered } from "../../ports.ts";
import { struct } from "../filter/types.ts";
import { present } from "./allocations.ts";
import type { Block } from "./blocking.ts";
import type { Answering, AnswerNeeds } from "./needs.ts";
import { byId, page } from "./paging.ts";

/** What is empty for good has been so since the first index. */
export const emptyIndex = 1;

/** An answer that never changes: a blocking query waits for its time to end. */
const always =
  (document: readonly never[] | null) =>
  (_needs: AnswerNeeds, block: Block): Answering =>
  ({ common, exchange }): Promise<Answered> =>
    block("evals", common, exchange.signal, () => present(document, emptyIndex));

export const listJobDeployments = always([]);

export const readJobDeployment = always(null);

const noDeployment = struct();

export const listDeployments = (needs: AnswerNeeds, block: Block): Answering => {
  const answer = always([])(needs, block);
  return async (asked) => {
    const { common, exchange } = asked;
    const fault = prefixFault(common.prefix);
    if (fault !== undefined) throw failed(`index error: ${fault}`);
    await page([], byId, noDeployment, common, exchange.signal); // a filter that does not parse is refused
    return answer(asked);
  };
};
