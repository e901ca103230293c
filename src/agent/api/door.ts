/**
 * One request at the agent, in Nomad's order of checks (nomad-http.md §14): method, body, parameters, token, allocation
 * or right, then the answer. Everything it refuses it throws.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { writeJson } from "../../answer.ts";
import { maxBodyBytes, parseBody } from "../../bodies.ts";
import { failed, GatewayError, invalidRequest, notFound } from "../../errors.ts";
import { hasBody, readBody } from "../../http/body.ts";
import { bearerOf, readCredential } from "../../http/credential.ts";
import { queryOf } from "../../http/query.ts";
import { refusePlainExec } from "../../http/upgrade.ts";
import { commonParameters, one } from "../../parameters.ts";
import type { Principal } from "../../ports.ts";
import { type Route, rowFor } from "../../routes.ts";
import { allocationAnswers, nodeAnswers } from "./answers.ts";
import type { Ask, DoorNeeds } from "./ask.ts";
import { requireRight } from "./permits.ts";
import { createPulls } from "./pulls.ts";
import { askedNode, findAllocation, requireOwnNode } from "./scope.ts";

const isAllocationRoute = (route: Route): boolean =>
  route.key === "allocation" || route.key === "allocation_namespace";

const checkId = (route: Route, key: string): void => {
  if (!isAllocationRoute(route)) return;
  const isFile = route.path.endsWith("/*id");
  if (isFile && key === "") throw invalidRequest("must provide a valid alloc id");
  if (!isFile && key.includes("/")) throw notFound("resource not found");
};

const smallBody = (request: IncomingMessage): Promise<string | undefined> => {
  const coding = request.headers["content-encoding"] ?? "identity";
  if (hasBody(request) && coding !== "identity") throw new GatewayError("unsupported_coding");
  return readBody(request, maxBodyBytes);
};

/**
 * What the pull secret opens besides the list of allocations: reading metadata that changed, and stops that the gateway
 * took while this node was away, when it had the caller's right checked but kept no credential.
 */
const gatewayMay: ReadonlySet<string> = new Set(["client.metadata.get", "alloc.stop"]);

const readAsk = async (
  route: Route,
  key: string,
  request: IncomingMessage,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<Ask> => {
  const raw = queryOf(request.url ?? "");
  checkId(route, key);
  if (route.carriage === "websocket") refusePlainExec(raw);
  const text = route.body === "none" ? undefined : await smallBody(request);
  const body = parseBody(route.body, text);
  const parameters = route.parameters(raw);
  const common = commonParameters(raw);
  const credential = readCredential(request);
  return { route, key, raw, parameters, common, body, credential, response, signal };
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
    needs.authenticate(ask.credential, ask.signal);

  const isGateway = ({ route, credential }: Ask): boolean =>
    gatewayMay.has(route.name) && needs.pullSecrets.has(bearerOf(credential));

  const answerAllocation = async (ask: Ask): Promise<void> => {
    const principal = isGateway(ask) ? undefined : await principalOf(ask);
    const allocation = findAllocation(needs.workloads, ask.route, ask.key);
    if (principal) requireRight(principal, ask.route.rule, allocation.namespace);
    const answer = forAllocation[ask.route.name];
    if (answer === undefined) throw new GatewayError("internal");
    await answer(allocation, ask);
  };

  const answerNode = async (ask: Ask): Promise<void> => {
    if (!isGateway(ask)) requireRight(await principalOf(ask), ask.route.rule);
    requireOwnNode(ask.route, needs.node.id, askedNode(ask.raw, ask.body));
    const answer = forNode[ask.route.name];
    if (answer === undefined) throw new GatewayError("internal");
    await answer(ask);
  };

  return async (rows, key, request, response, signal) => {
    const route = rowFor(rows, request.method ?? "");
    if (route === undefined) throw new GatewayError("invalid_method");
    const ask = await readAsk(route, key, request, response, signal);
    if (route.name === "agent.health") return writeHealth(ask);
    if (route.name === "node.allocations") return pull(ask);
    return isAllocationRoute(route) ? answerAllocation(ask) : answerNode(ask);
  };
};
