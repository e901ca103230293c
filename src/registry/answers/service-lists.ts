/** `/v1/services` and `/v1/service/:name`: what the allocations that run have registered, as `service list` asks for it. */
import { createHash } from "node:crypto";
import { GatewayError, invalidRequest } from "../../errors.ts";
import type { RawQuery } from "../../parameters.ts";
import { serviceType } from "../filter/service-type.ts";
import { present } from "./allocations.ts";
import { type Block, metaHeaders, type Result } from "./blocking.ts";
import { namespaceTest } from "./documents.ts";
import type { Answering, AnswerNeeds } from "./needs.ts";
import { compareText, type Order, page } from "./paging.ts";
import { type Registration, registeredBy } from "./services.ts";

function* registrations(
  needs: AnswerNeeds,
  shown: (namespace: string) => boolean,
): Iterable<Registration> {
  for (const allocation of needs.registry.allocations())
    if (shown(allocation.Namespace)) yield* registeredBy(needs, allocation);
}

type Tags = ReadonlySet<string>;

/** By namespace and name, the tags of every registration together. */
const tagsByName = (
  all: Iterable<Registration>,
): ReadonlyMap<string, ReadonlyMap<string, Tags>> => {
  const namespaces = new Map<string, Map<string, Set<string>>>();
  for (const { Namespace, ServiceName, Tags: tags } of all) {
    const names = namespaces.get(Namespace) ?? new Map<string, Set<string>>();
    namespaces.set(Namespace, names);
    const known = names.get(ServiceName) ?? new Set<string>();
    names.set(ServiceName, known);
    for (const tag of tags) known.add(tag);
  }
  return namespaces;
};

const sorted = <T>(entries: Iterable<readonly [string, T]>): readonly (readonly [string, T])[] =>
  [...entries].sort(([one], [other]) => compareText(one, other));

const toServices = (names: Iterable<readonly [string, Tags]>): readonly object[] =>
  sorted(names).map(([ServiceName, tags]) => ({ ServiceName, Tags: [...tags].sort(compareText) }));

/** Over all namespaces the list shows what the caller may see; in one of them it needs the right there. */
export const listServices =
  (needs: AnswerNeeds, block: Block): Answering =>
  ({ exchange, acl, namespace, common }) =>
    block("allocs", common, exchange.signal, () => {
      if (namespace !== "*" && !acl().namespace(namespace, "read-job"))
        throw new GatewayError("permission_denied");
      const shown = namespaceTest(acl(), namespace, "read-job");
      const found = sorted(tagsByName(registrations(needs, shown)));
      return present(
        found.map(([Namespace, names]) => ({ Namespace, Services: toServices(names) })),
        needs.registry.index("allocs"),
      );
    });

const tokenOf = ({ Namespace, ID }: Registration): string => `${Namespace}.${ID}`;

const byToken: Order<Registration> = {
  token: tokenOf,
  compare: (item, token) => compareText(tokenOf(item), token),
};

interface Choice {
  readonly count: number;
  readonly key: string;
}

/** `choose=<count>|<key>`: the same few for the same key. */
const choiceOf = (raw: RawQuery): Choice | undefined => {
  const text = raw.get("choose")?.[0] ?? "";
  if (text === "") return undefined;
  const [, count, key] = /^(\d+)\|(.+)$/s.exec(text) ?? [];
  if (count === undefined || key === undefined)
    throw invalidRequest(
      "failed to choose services: Parameter for choose must be in form '<number>|<key>'",
    );
  return { count: Number(count), key };
};

/** Each registration's weight is its own hash with the key, so that one that comes or goes moves no other. */
const chosen = (all: readonly Registration[], { count, key }: Choice): readonly Registration[] => {
  const weights = new Map(
    all.map(({ ID }) => [ID, createHash("sha256").update(`${ID}|${key}`).digest("hex")]),
  );
  const weightOf = ({ ID }: Registration): string => weights.get(ID) ?? "";
  return all.toSorted((one, other) => compareText(weightOf(one), weightOf(other))).slice(0, count);
};

export const readService =
  (needs: AnswerNeeds, block: Block): Answering =>
  ({ exchange, namespace, common }) => {
    const choice = choiceOf(exchange.raw);
    return block("allocs", common, exchange.signal, async (): Promise<Result> => {
      const index = needs.registry.index("allocs");
      const own = [...registrations(needs, (name) => name === namespace)]
        .filter(({ ServiceName }) => ServiceName === exchange.key)
        .sort((one, other) => compareText(one.ID, other.ID));
      const { items, nextToken } = await page(own, byToken, serviceType, common, exchange.signal);
      return {
        index,
        answered: {
          document: choice === undefined ? items : chosen(items, choice),
          headers: metaHeaders(index, nextToken),
        },
      };
    });
  };
