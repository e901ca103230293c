/** `/v1/jobs`, `/v1/job/:id` and what is told of a job from its allocations, as far as the CLI asks for them (nomad-clients.md §1.4). */
import { parseGoBool } from "../../lib/go.ts";
import type { RawQuery } from "../../parameters.ts";
import { jobType } from "../filter/job-type.ts";
import { toAllocationStub } from "./allocation-shape.ts";
import { absent, idOrder, present } from "./allocations.ts";
import { type Block, metaHeaders, type Result } from "./blocking.ts";
import { namespaceTest, numberOf } from "./documents.ts";
import { type JobEntry, jobsOf, toJobStub, toJobSummary, versionsOf } from "./job-shape.ts";
import type { Answering, AnswerNeeds, Asked } from "./needs.ts";
import { compareText, type Order, page } from "./paging.ts";
import { withDiffs, withMeta } from "./parameter-check.ts";

const byNamespaceAndId: Order<JobEntry> = {
  token: ({ Namespace, ID }) => `${Namespace}.${ID}`,
  compare: ({ Namespace, ID }, token) => {
    const dot = token.indexOf(".");
    const namespace = dot < 0 ? token : token.slice(0, dot);
    return (
      compareText(Namespace, namespace) || compareText(ID, dot < 0 ? "" : token.slice(dot + 1))
    );
  },
  document: ({ job }) => job,
};

export const listJobs =
  ({ registry }: AnswerNeeds, block: Block): Answering =>
  ({ exchange, acl, namespace, common }) => {
    const meta = withMeta(exchange.raw);
    return block("allocs", common, exchange.signal, async (): Promise<Result> => {
      const index = registry.index("allocs");
      const shown = namespaceTest(acl(), namespace, "list-jobs");
      const jobs = jobsOf(registry.allocations(), shown).filter(({ ID }) =>
        ID.startsWith(common.prefix),
      );
      const items = common.reverse ? jobs.toReversed() : jobs;
      const listed = await page(items, byNamespaceAndId, jobType, common, exchange.signal);
      return {
        index,
        answered: {
          document: listed.items.map((entry) => toJobStub(entry, meta)),
          headers: metaHeaders(index, listed.nextToken),
        },
      };
    });
  };

const ownAllocations = ({ registry }: AnswerNeeds, { exchange, namespace }: Asked) =>
  [...registry.allocations()].filter(
    ({ Namespace, JobID }) => Namespace === namespace && JobID === exchange.key,
  );

/** An answer about the job itself; the 404's words when it does not exist. */
const ofJob =
  (words: string, show: (entry: JobEntry) => object) =>
  (needs: AnswerNeeds, block: Block): Answering =>
  (asked) =>
    block("allocs", asked.common, asked.exchange.signal, () => {
      const [entry] = jobsOf(ownAllocations(needs, asked), () => true);
      if (entry === undefined) return absent(words, needs.registry.index("allocs"));
      return present(show(entry), entry.modifyIndex);
    });

export const readJob = ofJob("job not found", ({ job }) => job);

export const readJobSummary = ofJob("job not found", toJobSummary);

const versions = ofJob("job versions not found", (entry) => ({
  Versions: versionsOf(entry),
  Diffs: null,
  Index: entry.modifyIndex,
  LastContact: 0,
  KnownLeader: true,
  NextToken: "",
}));

/** Differences between versions are a scheduler's to tell: none are given, asked for or not. */
export const readJobVersions = (needs: AnswerNeeds, block: Block): Answering => {
  const answer = versions(needs, block);
  return (asked) => {
    withDiffs(asked.exchange.raw);
    return answer(asked);
  };
};

/** Nomad reads no fault into the word. */
const isAll = (raw: RawQuery): boolean => {
  const word = parseGoBool(raw.get("all")?.[0] ?? "");
  return word.ok && word.value;
};

/** Without `all`, what an earlier job of the same name left behind is left out. */
export const readJobAllocations =
  (needs: AnswerNeeds, block: Block): Answering =>
  (asked) => {
    const all = isAll(asked.exchange.raw);
    return block("allocs", asked.common, asked.exchange.signal, () => {
      const own = ownAllocations(needs, asked);
      const [entry] = jobsOf(own, () => true);
      const createdAt = numberOf(entry?.job["CreateIndex"]);
      const items = own
        .filter(({ Job }) => all || numberOf(Job["CreateIndex"]) === createdAt)
        .sort(idOrder)
        .map((item) => toAllocationStub(item, { resources: false, taskStates: true }));
      return present(items, needs.registry.index("allocs"));
    });
  };
