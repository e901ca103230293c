/**
 * Which plain requests are answered here: those for rows of agents. What they say of their sender is read once, and
 * what their target says is kept: programs ask the same again and again.
 */
import { LRUCache } from "lru-cache";
import { GatewayError, toGatewayError } from "../../errors.ts";
import { readCredential } from "../../http/credential.ts";
import { queryOf } from "../../http/query.ts";
import type { RawQuery } from "../../parameters.ts";
import type { Credential, Exchange } from "../../ports.ts";
import type { Route } from "../../routes.ts";
import { isCarried } from "../carried.ts";
import { clientOf } from "../client.ts";
import { applyCors } from "../cors.ts";
import { checkRequest } from "../guards.ts";
import type { Parsed } from "../parse.ts";
import { matchRows, type RowMatch } from "../row-match.ts";
import { plainPath } from "../target.ts";
import type { Visits } from "../visit.ts";
import { type CallerNeeds, PlainRequest } from "./caller.ts";
import { copyOf, type Fields, readRequestLine } from "./head.ts";

interface Sender {
  readonly client: Exchange["client"];
  readonly credential: Credential;
}

/** A request target for a row of agents. */
interface Target {
  readonly url: string;
  readonly path: string;
  readonly match: RowMatch;
  readonly raw: RawQuery;
  /** Undefined: it is to be refused. */
  readonly parsed: Parsed | undefined;
}

const maxKeptTargets = 4_096;
/** Of all together: what is read of one may be sixty times its length, when it names many parameters. */
const maxKeptCharacters = 256 * 1_024;
/** First lines that are longer are read anew each time. */
const maxKeptLineLength = 512;

/** Undefined in place of a refusal. */
const proper = <T>(read: () => T): T | undefined => {
  try {
    return read();
  } catch (error) {
    if (error instanceof GatewayError) return undefined;
    throw error;
  }
};

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
    const client = clientOf(request, isTrustedProxy);
    return { client, credential: { ...readCredential(request, client.address), found: {} } };
  };

  /** Undefined for a request that is not proper: what is wrong is node:http's side to say. */
  const senderOf = (request: PlainRequest): Sender | undefined => {
    const known = senders.get(request.fields);
    if (known !== undefined) return known;
    const sender = proper(() => readSender(request));
    if (sender !== undefined) senders.set(request.fields, sender);
    return sender;
  };

  const targets = new LRUCache<string, Target>({
    max: maxKeptTargets,
    maxSize: maxKeptCharacters,
    sizeCalculation: (_target, line) => line.length,
  });

  /** Undefined for one that is not to be answered here. */
  const readTarget = (line: string): Target | undefined => {
    const url = readRequestLine(line);
    const path = url === undefined ? undefined : plainPath(url);
    if (url === undefined || path === undefined) return undefined;
    const match = matchRows(path);
    if (match === undefined || !match.rows.some(isOfAgents)) return undefined;
    if (passes && !isCarried(url, region)) return undefined;
    const raw = proper(() => queryOf(url));
    return raw && { url, path, match, raw, parsed: proper(() => visits.read(match, raw)) };
  };

  const targetOf = (line: string): Target | undefined => {
    if (line.length > maxKeptLineLength) return readTarget(line);
    const known = targets.get(line);
    if (known !== undefined) return known;
    const kept = copyOf(line);
    const target = readTarget(kept);
    if (target !== undefined) targets.set(kept, target);
    return target;
  };

  return (line, fields, caller) => {
    const target = targetOf(line);
    if (target === undefined) return false;
    const { url, path, match, raw, parsed } = target;
    const request = new PlainRequest(url, fields, caller.socket);
    const sender = senderOf(request);
    if (sender === undefined) return false;
    const visit = visits.begin(request, sender.client);
    const response = caller.answer(request);
    try {
      visits.greet(visit, response);
      visit.raw = raw;
      applyCors(request, response, path);
      visits.take(visit, match, request, response, {
        credential: sender.credential,
        parsed,
      });
    } catch (thrown) {
      visits.refuse(visit, request, response, toGatewayError(thrown));
    }
    return true;
  };
};
