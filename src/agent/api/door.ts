/**
 * One request at the agent, in Nomad's order of checks (nomad-http.md §14): method, body, parameters, token, allocation
 * or right, then the answer. Everything it refuses it throws.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { writeJson } from "../../answer.ts";
import { decodeCommand, parseBody } from "../../bodies.ts";
import { failed, GatewayError, invalidRequest, notFound } from "../../errors.ts";
import { commonParameters, one, parseQuery, type RawQuery } from "../../parameters.ts";
import type { Principal } from "../../ports.ts";
import type { Route } from "../../routes.ts";
import { allocationAnswers, nodeAnswers } from "./answers.ts";
import type { Ask, DoorNeeds } from "./ask.ts";
import { presented } from "./credential.ts";
import { requireRight } from "./permits.ts";
import { createPulls } from "./pulls.ts";
import { readBody } from "./request-body.ts";
import { askedNode, findAllocation, requireOwnNode } from "./scope.ts";

export const queryOf = (request: IncomingMessage): RawQuery => {
  const url = request.url ?? "";
  const at = url.indexOf("?");
  return parseQuery(at < 0 ? "" : url.slice(at + 1));
};

const isAllocationRoute = (route: Route): boolean =>
  route.key === "allocation" || route.key === "allocation_namespace";

const rowFor = (rows: readonly Route[], method: string): Route => {
  const row = rows.find(({ methods }) => methods === undefined || methods.includes(method));
  if (row === undefined) throw new GatewayError("invalid_method");
  return row;
};

const checkId = (route: Route, key: string): void => {
  if (!isAllocationRoute(route)) return;
  const isFile = route.path.endsWith("/*id");
  if (isFile && key === "") throw invalidRequest("must provide a valid alloc id");
  if (!isFile && key.includes("/")) throw notFound("resource not found");
};

/** A request that should have been a WebSocket: Nomad looks at its command first. */
const refusePlainExec = (raw: RawQuery): never => {
  decodeCommand(one(raw, "command") ?? "");
  throw failed("websocket connection not found in context");
};

const readAsk = async (
  route: Route,
  key: string,
  request: IncomingMessage,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<Ask> => {
  const raw = queryOf(request);
  checkId(route, key);
  if (route.carriage === "websocket") refusePlainExec(raw);
  const text = route.body === "none" ? undefined : await readBody(request);
  const body = parseBody(route.body, text);
  const parameters = route.parameters(raw);
  const common = commonParameters(raw);
  const from = presented(request);
  return { route, key, raw, parameters, common, body, presented: from, request, response, signal };
};

const writeHealth = (ask: Ask): void => {
  if (one(ask.raw, "type") === "server")
    throw failed('{"server":{"ok":false,"message":"server not enabled"}}');
  writeJson(ask.response, { client: { message: "ok", ok: true } }, { pretty: ask.common.pretty });
};

export type Door = (
  rows: readonly Route[],
  key: string,
  request: IncomingMessage,
  response: ServerResponse,
  signal: AbortSignal,
) => Promise<void>;

export const createDoor = (needs: DoorNeeds): Door => {
  const forAllocation = allocationAnswers(needs.files);
  const forNode = nodeAnswers(needs);
  const pull = createPulls(needs);

  const principalOf = async (ask: Ask): Promise<Principal> =>
    needs.authenticate(ask.presented.credential, ask.signal);

  const answerAllocation = async (ask: Ask): Promise<void> => {
    const principal = await principalOf(ask);
    const allocation = findAllocation(needs.workloads, ask.route, ask.key);
    requireRight(principal, ask.route.rule, allocation.namespace);
    const answer = forAllocation[ask.route.name];
    if (answer === undefined) throw new GatewayError("internal");
    await answer(allocation, ask);
  };

  const answerNode = async (ask: Ask): Promise<void> => {
    const isGateway =
      ask.route.name === "client.metadata.get" && needs.pullSecrets.has(ask.presented.bearer);
    if (!isGateway) requireRight(await principalOf(ask), ask.route.rule);
    requireOwnNode(ask.route, needs.node.id, askedNode(ask.raw, ask.body));
    const answer = forNode[ask.route.name];
    if (answer === undefined) throw new GatewayError("internal");
    await answer(ask);
  };

  return async (rows, key, request, response, signal) => {
    const route = rowFor(rows, request.method ?? "");
    const ask = await readAsk(route, key, request, response, signal);
    if (route.name === "agent.health") return writeHealth(ask);
    if (route.name === "node.allocations") return pull(ask);
    return isAllocationRoute(route) ? answerAllocation(ask) : answerNode(ask);
  };
};
