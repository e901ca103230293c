/** Which plain requests are answered here: those for rows of agents. What they say of their sender is read once a connection. */
import { GatewayError, toGatewayError } from "../../errors.ts";
import { readCredential } from "../../http/credential.ts";
import { queryOf } from "../../http/query.ts";
import type { Credential, Exchange } from "../../ports.ts";
import type { Route } from "../../routes.ts";
import { isCarried } from "../carried.ts";
import { clientOf } from "../client.ts";
import { applyCors } from "../cors.ts";
import { checkRequest } from "../guards.ts";
import { matchRows } from "../row-match.ts";
import { plainPath } from "../target.ts";
import type { Visits } from "../visit.ts";
import type { CallerNeeds, PlainRequest } from "./caller.ts";
import type { Fields } from "./head.ts";

interface Sender {
  readonly client: Exchange["client"];
  readonly credential: Credential;
}

interface BeginOptions {
  readonly region: string;
  /** In front of a Nomad cluster. */
  readonly passes: boolean;
  readonly isTrustedProxy: (address: string) => boolean;
}

const isOfAgents = ({ methods, body, carriage }: Route): boolean =>
  (methods === undefined || methods.includes("GET")) &&
  body === "none" &&
  carriage !== "registry" &&
  carriage !== "websocket";

export const createBegin = (
  visits: Visits,
  { region, passes, isTrustedProxy }: BeginOptions,
): CallerNeeds["begin"] => {
  const senders = new WeakMap<Fields, Sender>();

  const readSender = (request: PlainRequest): Sender => {
    checkRequest(request);
    const credential = { ...readCredential(request), lasts: true } as const;
    return { client: clientOf(request, isTrustedProxy), credential };
  };

  /** Undefined for a request that is not proper: what is wrong is node:http's side to say. */
  const senderOf = (request: PlainRequest): Sender | undefined => {
    const known = senders.get(request.fields);
    if (known !== undefined) return known;
    try {
      const sender = readSender(request);
      senders.set(request.fields, sender);
      return sender;
    } catch (error) {
      if (error instanceof GatewayError) return undefined;
      throw error;
    }
  };

  return (request, answer) => {
    const { url } = request;
    const path = plainPath(url);
    const match = path === undefined ? undefined : matchRows(path);
    if (path === undefined || match === undefined || !match.rows.some(isOfAgents)) return false;
    if (passes && !isCarried(url, region)) return false;
    const sender = senderOf(request);
    if (sender === undefined) return false;
    const visit = visits.begin(request, sender.client);
    const response = answer(request);
    try {
      visits.greet(visit, response);
      visit.raw = queryOf(url);
      applyCors(request, response, path);
      visits.take(visit, match, request, response, sender.credential);
    } catch (thrown) {
      visits.refuse(visit, request, response, toGatewayError(thrown));
    }
    return true;
  };
};
