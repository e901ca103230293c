/** `/v1/evaluations`, those of a job, `/v1/evaluation/:id` and its allocations: what `alloc stop` polls. */
import { GatewayError, invalidRequest } from "../../errors.ts";
import type { JsonObject } from "../../lib/json.ts";
import type { Registry } from "../../ports.ts";
import { evaluationType } from "../filter/evaluation-type.ts";
import { toAllocationStub } from "./allocation-shape.ts";
import { absent, idOrder, present } from "./allocations.ts";
import { type Block, metaHeaders, type Result } from "./blocking.ts";
import { filledFields, namespaceTest, numberOf, permittedTest, textOf } from "./documents.ts";
import { lookupId, prefixTest } from "./ids.ts";
import type { Answering, AnswerNeeds, Asked } from "./needs.ts";
import { byCreateIndex, byId, compareText, page } from "./paging.ts";
import { withRelated } from "./parameter-check.ts";

const links = ["NextEval", "PreviousEval", "BlockedEval"] as const;
const maxRelated = 100;

const stubFields = [
  "ID", "Namespace", "Priority", "Type", "TriggeredBy", "JobID", "NodeID", "DeploymentID", "Status",
  "StatusDescription", "WaitUntil", "NextEval", "PreviousEval", "BlockedEval", "CreateIndex", "ModifyIndex",
  "CreateTime", "ModifyTime",
] as const; // biome-ignore format: a list

const toEvaluationStub = (evaluation: JsonObject): object =>
  Object.fromEntries(stubFields.map((name) => [name, evaluation[name] ?? zeroOf(name)]));

const zeroOf = (name: (typeof stubFields)[number]): string | number | null => {
  if (name === "WaitUntil") return null;
  return /Index$|Time$|^Priority$/.test(name) ? 0 : "";
};

/** Those it names, and those they name: followed while they are of the same namespace. */
const relatedOf = (registry: Registry, evaluation: JsonObject): readonly JsonObject[] => {
  const found = new Map([[textOf(evaluation["ID"]), evaluation]]);
  for (const one of found.values())
    for (const id of links.map((link) => textOf(one[link]))) {
      const other = id === "" || found.has(id) ? undefined : registry.evaluation(id);
      if (other === undefined || other["Namespace"] !== evaluation["Namespace"]) continue;
      if (found.size > maxRelated) return [...found.values()].slice(1);
      found.set(id, other);
    }
  return [...found.values()].slice(1);
};

/** A caller who may read jobs nowhere learns nothing, not even what exists. */
const requireSomeRight = ({ acl }: Asked): void => {
  if (!acl().namespace("*", "read-job")) throw new GatewayError("permission_denied");
};

const toDocument = (registry: Registry, evaluation: JsonObject, related: boolean): object => {
  const filled = filledFields(evaluation, Object.keys(evaluation));
  const others = related ? relatedOf(registry, evaluation) : [];
  return others.length === 0 ? filled : { ...filled, RelatedEvals: others.map(toEvaluationStub) };
};

export const readEvaluation =
  ({ registry }: AnswerNeeds, block: Block): Answering =>
  (asked) => {
    const { exchange, acl, common } = asked;
    const related = withRelated(exchange.raw);
    requireSomeRight(asked);
    const id = lookupId("failed to lookup eval: eval", exchange.key);
    return block("evals", common, exchange.signal, () => {
      requireSomeRight(asked);
      const evaluation = registry.evaluation(id);
      if (evaluation === undefined) return absent("eval not found", registry.index("evals"));
      if (!acl().namespace(textOf(evaluation["Namespace"]), "read-job"))
        throw new GatewayError("permission_denied");
      return present(
        toDocument(registry, evaluation, related),
        numberOf(evaluation["ModifyIndex"]),
      );
    });
  };

export const readEvaluationAllocations =
  ({ registry }: AnswerNeeds, block: Block): Answering =>
  (asked) => {
    const { exchange, acl, common } = asked;
    requireSomeRight(asked);
    const id = lookupId("alloc", exchange.key);
    return block("allocs", common, exchange.signal, () => {
      requireSomeRight(asked);
      const shown = permittedTest(acl(), "read-job");
      const items = [...registry.allocations()]
        .filter(({ EvalID, Namespace }) => EvalID === id && shown(Namespace))
        .sort(idOrder)
        .map((item) => toAllocationStub(item, { resources: false, taskStates: true }));
      return present(items, registry.index("allocs"));
    });
  };

interface Entry {
  readonly ID: string;
  readonly CreateIndex: number;
  readonly evaluation: JsonObject;
}

const toEntry = (evaluation: JsonObject): Entry => ({
  ID: textOf(evaluation["ID"]),
  CreateIndex: numberOf(evaluation["CreateIndex"]),
  evaluation,
});

const entryOrder = (one: Entry, other: Entry): number => compareText(one.ID, other.ID);

const indexOrder = (one: Entry, other: Entry): number =>
  one.CreateIndex - other.CreateIndex || entryOrder(one, other);

const documentOf = ({ evaluation }: Entry): JsonObject => evaluation;

/** `status` and `job`, the older way to filter; Nomad takes either them or an expression. */
const fieldTest = ({ exchange, common }: Asked): ((evaluation: JsonObject) => boolean) => {
  const status = exchange.raw.get("status")?.[0] ?? "";
  const job = exchange.raw.get("job")?.[0] ?? "";
  if (common.filter !== "" && (status !== "" || job !== ""))
    throw invalidRequest("Filter expression cannot be used with other filter parameters");
  return ({ Status, JobID }) =>
    (status === "" || Status === status) && (job === "" || JobID === job);
};

export const listEvaluations =
  ({ registry }: AnswerNeeds, block: Block): Answering =>
  (asked) => {
    const { exchange, acl, namespace, common } = asked;
    const passes = fieldTest(asked);
    const begins = prefixTest("eval", common.prefix);
    const order = { ...(common.prefix === "" ? byCreateIndex : byId), document: documentOf };
    return block("evals", common, exchange.signal, async (): Promise<Result> => {
      const index = registry.index("evals");
      const shown = namespaceTest(acl(), namespace, "read-job");
      const entries = [...registry.evaluations()]
        .filter((one) => shown(textOf(one["Namespace"])) && passes(one))
        .map(toEntry)
        .filter(({ ID }) => begins(ID))
        .sort(common.prefix === "" ? indexOrder : entryOrder);
      const items = common.reverse ? entries.toReversed() : entries;
      const listed = await page(items, order, evaluationType, common, exchange.signal);
      return {
        index,
        answered: {
          document: listed.items.map(({ evaluation }) => toDocument(registry, evaluation, false)),
          headers: metaHeaders(index, listed.nextToken),
        },
      };
    });
  };

export const listJobEvaluations =
  ({ registry }: AnswerNeeds, block: Block): Answering =>
  ({ exchange, namespace, common }) =>
    block("evals", common, exchange.signal, () => {
      const own = [...registry.evaluations()]
        .filter(({ Namespace, JobID }) => Namespace === namespace && JobID === exchange.key)
        .map(toEntry)
        .sort(entryOrder);
      return present(
        own.map(({ evaluation }) => toDocument(registry, evaluation, false)),
        registry.index("evals"),
      );
    });
