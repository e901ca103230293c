/** Questions to Nomad's servers: with the gateway's own token, bounded in time and bytes, one server after the other. */
import type { Dispatcher } from "undici";
import { errnoOf, GatewayError } from "../../errors.ts";
import { readBounded } from "../../lib/read-bounded.ts";
import { Turns } from "../../lib/turns.ts";
import { originsInTurn, type Servers } from "../../nomad/servers.ts";
import type { Timers } from "../timers.ts";
import { regionWords } from "./sentences.ts";

export interface ServersSource {
  readonly servers: Servers;
  readonly timers: Timers;
  /** Asked before each request; undefined is anonymous. */
  readonly token: () => string | undefined;
  /** Asked for by name; undefined leaves it to the server. */
  readonly region: string | undefined;
}

export interface ServerAnswer {
  /** 200, 403 or 404: what else a server says, it says of itself, and the next one is asked. */
  readonly status: number;
  /** `X-Nomad-Index`; 0 without one. */
  readonly index: number;
  readonly nextToken: string | undefined;
  readonly body: Buffer;
}

export interface AnswerBounds {
  readonly timeoutMs: number;
  readonly maxBytes: number;
}

export type AskServers = (
  path: string,
  bounds: AnswerBounds,
  signal: AbortSignal,
) => Promise<ServerAnswer>;

/** Nomad admits 100 connections an address: callers' rights, the streams and what is passed through need theirs. */
const maxRequests = 24;
const maxWordsOfRefusal = 200;
const aboutTheQuestion: ReadonlySet<number> = new Set([200, 403, 404]);

export const unavailable = (reason: string, cause?: unknown): GatewayError =>
  new GatewayError("registry_unavailable", { reason }, { cause });

/** What was asked for is more than may be taken in. */
export class AnswerTooLarge extends GatewayError {
  constructor(maxBytes: number) {
    super("registry_unavailable", {
      reason: `a server's answer is larger than ${maxBytes} bytes`,
    });
  }
}

/** Why, without the words for callers that go before it. */
export const reasonOf = (error: unknown): string => {
  if (error instanceof GatewayError && error.facts.reason !== undefined) return error.facts.reason;
  if (error instanceof SyntaxError) return `a server's answer cannot be read (${error.message})`;
  return error instanceof Error ? error.message : "unknown reason";
};

export const tokenHeader = (token: string | undefined): Record<string, string> =>
  token === undefined ? {} : { "x-nomad-token": token };

export const inRegion = (path: string, region: string | undefined): string => {
  if (region === undefined) return path;
  return `${path}${path.includes("?") ? "&" : "?"}region=${encodeURIComponent(region)}`;
};

/** A server's own words, for the log: one line, short, printable. */
export const wordsOf = (body: Buffer): string =>
  body
    .toString("utf8", 0, maxWordsOfRefusal)
    .replaceAll(/[^\x20-\x7e]+/g, " ")
    .trim();

export const headerOf = (
  headers: Dispatcher.ResponseData["headers"],
  name: string,
): string | undefined => {
  const value = headers[name];
  return typeof value === "string" ? value : undefined;
};

const indexOf = (header: string | undefined): number => {
  const index = header !== undefined && /^\d{1,16}$/.test(header) ? Number(header) : 0;
  return Number.isSafeInteger(index) ? index : 0;
};

/** Aborts with `reason` after `ms`; always to be ended. */
export const deadlineAfter = (
  timers: Timers,
  ms: number,
  reason: () => Error,
): { readonly signal: AbortSignal; readonly end: () => void } => {
  const controller = new AbortController();
  const end = timers.after(ms, () => controller.abort(reason()));
  return { signal: controller.signal, end };
};

const askOne = async (
  { servers, timers, token, region }: ServersSource,
  origin: string,
  path: string,
  { timeoutMs, maxBytes }: AnswerBounds,
  signal: AbortSignal,
): Promise<ServerAnswer> => {
  const deadline = deadlineAfter(timers, timeoutMs, () => unavailable("a server took too long"));
  try {
    const answer = await servers.dispatcher.request({
      origin,
      method: "GET",
      path: inRegion(path, region),
      headers: { accept: "application/json", ...tokenHeader(token()) },
      headersTimeout: 0,
      bodyTimeout: 0,
      signal: AbortSignal.any([signal, deadline.signal]),
    });
    const body = await readBounded(answer.body, maxBytes, () => new AnswerTooLarge(maxBytes));
    return {
      status: answer.statusCode,
      index: indexOf(headerOf(answer.headers, "x-nomad-index")),
      nextToken: headerOf(answer.headers, "x-nomad-nexttoken"),
      body,
    };
  } finally {
    deadline.end();
  }
};

const toUnavailable = (error: unknown): GatewayError =>
  error instanceof GatewayError
    ? error
    : unavailable(`no Nomad server answers (${errnoOf(error) ?? "connection lost"})`, error);

/** Throws `registry_unavailable` when no server answers, the signal's reason when it aborts. */
const askInTurn = async (
  source: ServersSource,
  path: string,
  bounds: AnswerBounds,
  signal: AbortSignal,
): Promise<ServerAnswer> => {
  const { servers } = source;
  let failure = unavailable("no Nomad server answers");
  for (const origin of originsInTurn(servers)) {
    signal.throwIfAborted();
    try {
      const answer = await askOne(source, origin, path, bounds, signal);
      if (aboutTheQuestion.has(answer.status)) return answer;
      const said = wordsOf(answer.body);
      failure = unavailable(
        regionWords(said, source.region) ?? `a Nomad server says ${answer.status} ${said}`,
      );
    } catch (error) {
      signal.throwIfAborted();
      failure = toUnavailable(error);
    }
    if (failure instanceof AnswerTooLarge) break; // no fault of the server's: whoever asks is to ask for less
    servers.failed(origin);
  }
  throw failure;
};

/** Questions wait for their turn, as many as there are; whoever asks bounds them. */
export const createAskServers = (source: ServersSource): AskServers => {
  const turns = new Turns(maxRequests);
  return (path, bounds, signal) => turns.take(() => askInTurn(source, path, bounds, signal));
};
