/** `POST /v1/search`: ids that begin with a prefix, as shell completion asks for them. */
import { failed, GatewayError } from "../../errors.ts";
import { prefixFault } from "../../lib/uuid.ts";
import type { Acl, Table } from "../../ports.ts";
import { metaHeaders } from "./blocking.ts";
import { namespaceTest, textOf } from "./documents.ts";
import { prefixTest } from "./ids.ts";
import { jobsOf } from "./job-shape.ts";
import { namespacesOf } from "./namespaces.ts";
import type { Answering, AnswerNeeds, Asked } from "./needs.ts";

const maxMatches = 20;

/** In the order of Nomad's error text. Kinds that the registry does not have never match. */
const contexts = [
  "allocs", "jobs", "nodes", "node_pools", "evals", "deployment", "plugins", "volumes", "scaling_policy", "vars",
  "namespaces", "host_volumes",
] as const; // biome-ignore format: a list

type Context = (typeof contexts)[number];

interface Kind {
  readonly may: (acl: Acl, namespace: string) => boolean;
  readonly table: Table;
  /** Whether it is looked up in an index of ids, where a prefix must be hexadecimal. */
  readonly uuid: boolean;
  readonly ids: (needs: AnswerNeeds, asked: Asked) => Iterable<string>;
}

const mayReadJobs = (acl: Acl, namespace: string): boolean => acl.namespace(namespace, "read-job");

const shownBy = ({ acl, namespace }: Asked): ((namespace: string) => boolean) =>
  namespaceTest(acl(), namespace, "read-job");

function* allocationIds({ registry }: AnswerNeeds, asked: Asked): Iterable<string> {
  const shown = shownBy(asked);
  for (const { ID, Namespace } of registry.allocations()) if (shown(Namespace)) yield ID;
}

function* evaluationIds({ registry }: AnswerNeeds, asked: Asked): Iterable<string> {
  const shown = shownBy(asked);
  for (const evaluation of registry.evaluations())
    if (shown(textOf(evaluation["Namespace"]))) yield textOf(evaluation["ID"]);
}

function* nodeIds({ registry }: AnswerNeeds): Iterable<string> {
  for (const { ID } of registry.nodes()) yield ID;
}

const jobIds = ({ registry }: AnswerNeeds, asked: Asked): Iterable<string> =>
  jobsOf(registry.allocations(), shownBy(asked)).map(({ ID }) => ID);

const namespaceNames = (needs: AnswerNeeds, { acl }: Asked): Iterable<string> =>
  namespacesOf(needs).filter((name) => acl().anyIn(name));

const nothing: Kind = { may: mayReadJobs, table: "allocs", uuid: false, ids: () => [] };

const kinds: Readonly<Record<Context, Kind>> = {
  allocs: { may: mayReadJobs, table: "allocs", uuid: true, ids: allocationIds },
  jobs: { may: mayReadJobs, table: "allocs", uuid: false, ids: jobIds },
  nodes: { may: (acl) => acl.node("read"), table: "nodes", uuid: true, ids: nodeIds },
  evals: { may: mayReadJobs, table: "evals", uuid: true, ids: evaluationIds },
  namespaces: {
    may: (acl, namespace) => acl.anyIn(namespace),
    table: "allocs",
    uuid: false,
    ids: namespaceNames,
  },
  node_pools: nothing,
  deployment: nothing,
  plugins: nothing,
  volumes: nothing,
  scaling_policy: nothing,
  vars: nothing,
  host_volumes: nothing,
};

const contextsFor = (asked: string): readonly Context[] => {
  if (asked === "all") return contexts;
  const known = contexts.find((context) => context === asked);
  if (known !== undefined) return [known];
  throw failed(
    `context must be one of [${contexts.join(" ")}] or 'all' for all contexts; got "${asked}"`,
  );
};

/** The test of a kind's prefix: an odd digit is cut off, and what no id can begin with matches none. */
const testOf = ({ uuid }: Kind, prefix: string): ((id: string) => boolean) | undefined => {
  if (!uuid) return (id) => id.startsWith(prefix);
  const even = prefix.length % 2 === 0 ? prefix : prefix.slice(0, -1);
  return prefixFault(even) === undefined ? prefixTest("", even) : undefined;
};

interface Found {
  readonly ids: readonly string[] | null;
  readonly truncated: boolean;
}

const found = (ids: Iterable<string>, begins: (id: string) => boolean): Found => {
  const matched: string[] = [];
  for (const id of ids) {
    if (!begins(id)) continue;
    if (matched.length === maxMatches) return { ids: matched, truncated: true };
    matched.push(id);
  }
  return { ids: matched.length === 0 ? null : matched, truncated: false };
};

export const search =
  (needs: AnswerNeeds): Answering =>
  (asked) => {
    const { exchange, acl, namespace } = asked;
    const prefix = textOf(exchange.body?.["Prefix"]);
    const wanted = contextsFor(textOf(exchange.body?.["Context"]));
    const permitted = wanted.filter((context) => kinds[context].may(acl(), namespace));
    if (permitted.length === 0) throw new GatewayError("permission_denied");
    const matches: Record<string, readonly string[] | null> = {};
    const truncations: Record<string, boolean> = {};
    for (const context of permitted) {
      const begins = testOf(kinds[context], prefix);
      if (begins === undefined) continue;
      const { ids, truncated } = found(kinds[context].ids(needs, asked), begins);
      matches[context] = ids;
      truncations[context] = truncated;
    }
    const index = Math.max(
      ...permitted.map((context) => needs.registry.index(kinds[context].table)),
    );
    return {
      document: {
        Matches: matches,
        Truncations: truncations,
        Index: index,
        LastContact: 0,
        KnownLeader: true,
        NextToken: "",
      },
      headers: metaHeaders(index),
    };
  };
