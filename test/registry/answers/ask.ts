/** Asks the answers as the gateway does: parameters, right, scope, answer; what is thrown is the refusal. */

import { compileAcl, managementAcl } from "../../../src/acl/acl.ts";
import { authorize } from "../../../src/acl/authorize.ts";
import { parsePolicy } from "../../../src/acl/policy.ts";
import { GatewayError } from "../../../src/errors.ts";
import { createResolve } from "../../../src/gateway/resolve.ts";
import { newTally } from "../../../src/ingress/exchange.ts";
import type { Json, JsonObject } from "../../../src/lib/json.ts";
import { parseQuery } from "../../../src/parameters.ts";
import type { Acl, Answered, Exchange, Principal } from "../../../src/ports.ts";
import { createAnswers } from "../../../src/registry/answers/answers.ts";
import type { AnswerOptions, Self } from "../../../src/registry/answers/needs.ts";
import { registryParameterCheck } from "../../../src/registry/answers/parameter-check.ts";
import { routeNamed } from "../../../src/routes.ts";
import type { MemoryRegistry } from "./memory-registry.ts";

export const self: Self = {
  name: "server-1",
  region: "global",
  datacenter: "dc1",
  version: "2.0.5",
  address: "127.0.0.1:4647",
};

const aclOf = (policy: Json): Acl => {
  const parsed = parsePolicy(policy, "strict");
  if (!parsed.ok) throw new Error(JSON.stringify(parsed));
  return compileAcl([parsed.rules]);
};

const level = (policy: string): Json => ({ policy });
const namespaces = (of: Readonly<Record<string, Json>>): Json => ({ namespace: of });

/** The tokens of the recorded cluster, with what their policies say; none for those that are refused. */
const policies: Readonly<Record<string, Json>> = {
  full: { namespace: { golden: level("write") }, node: level("write"), agent: level("write") },
  read: namespaces({ golden: level("read") }),
  "list-jobs": namespaces({ golden: { capabilities: ["list-jobs"] } }),
  "read-job": namespaces({ golden: { capabilities: ["read-job"] } }),
  "read-logs": namespaces({ golden: { capabilities: ["read-logs"] } }),
  "other-ns": namespaces({ "golden-b": level("write") }),
  "both-read": namespaces({ golden: level("read"), "golden-b": level("read") }),
  "node-read": { node: level("read") },
};

const aclNamed = (token: string): Acl | undefined => {
  if (token === "management") return managementAcl;
  if (token === "") return compileAcl([]);
  const policy = policies[token];
  return policy === undefined ? undefined : aclOf(policy);
};

export const principalOf = (token: string): Principal | undefined => {
  const acl = aclNamed(token);
  if (acl === undefined) return undefined;
  return {
    accessorId: token === "" ? "anonymous" : token,
    name: token,
    type: token === "management" ? "management" : "client",
    policies: [],
    acl,
    expiresAtMs: undefined,
  };
};

export interface Question {
  readonly route: string;
  readonly key?: string;
  readonly query?: string;
  readonly body?: JsonObject;
  /** A name of the table above; "" is anonymous. */
  readonly token?: string;
  readonly client?: Partial<Exchange["client"]>;
  readonly signal?: AbortSignal;
}

export interface Outcome {
  readonly status: number;
  readonly text: string | undefined;
  readonly document: unknown;
  readonly headers: Readonly<Record<string, string>>;
}

const client: Exchange["client"] = { address: "127.0.0.1", authority: "gate:4646", scheme: "http" };

const toExchange = (question: Question): Exchange => {
  const route = routeNamed(question.route);
  const raw = parseQuery(question.query ?? "");
  return {
    id: "1",
    route,
    method: "GET",
    key: question.key ?? "",
    raw,
    parameters: route.parameters(raw),
    body: question.body,
    pretty: false,
    credential: { secret: question.token, source: "header" },
    client: { ...client, ...question.client },
    signal: question.signal ?? new AbortController().signal,
    end: () => {},
    get wire(): never {
      throw new Error("an answer must not look at the wire");
    },
    startedAtMs: 0,
    tally: newTally(),
    kept: {},
    derived: {},
  };
};

const refusal = (error: unknown, headers: Readonly<Record<string, string>> = {}): Outcome => {
  if (!(error instanceof GatewayError)) throw error;
  return { status: error.status, text: error.words, document: undefined, headers };
};

const outcomeOf = ({ document, refusal: refused, headers = {} }: Answered): Outcome =>
  refused === undefined
    ? { status: 200, text: undefined, document, headers }
    : refusal(refused, headers);

export const createAsk = (registry: MemoryRegistry, options: AnswerOptions = {}) => {
  const clock = { now: () => Date.now(), monotonic: () => performance.now() };
  const answers = createAnswers({ registry, clock, self }, { random: () => 0, ...options });
  const directory = registry.directory();
  const resolve = createResolve({ directory, findNode: (id) => directory.node(id) });
  return async (question: Question): Promise<Outcome> => {
    try {
      const exchange = toExchange(question);
      registryParameterCheck(question.route, exchange.raw, self.region);
      const principal = principalOf(question.token ?? "");
      const open = exchange.route.rule.on === "nobody";
      if (principal === undefined && !open) throw new GatewayError("permission_denied");
      const caller = principal ?? principalOf("");
      const answer = answers[question.route];
      if (caller === undefined || answer === undefined) throw new Error("no such answer");
      const scope = await resolve(exchange);
      authorize(caller, scope, exchange);
      return outcomeOf(await answer(exchange, caller, scope));
    } catch (error) {
      return refusal(error);
    }
  };
};
