/**
 * One connection to `/v1/event/stream`. Nomad always says 200: whoever is refused, and whoever is dropped later, gets
 * silence and an open socket. So a stream counts as open with its first heartbeat, and as dead when it falls silent.
 */
import type { Dispatcher } from "undici";
import { readBounded } from "../../lib/read-bounded.ts";
import {
  deadlineAfter, headerOf, inRegion, type ServersSource, tokenHeader, wordsOf,
} from "./ask.ts"; // biome-ignore format: a row
import { type Line, Lines } from "./lines.ts";
import type { NomadFeedBounds } from "./options.ts";
import {
  brokenWords, endedWords, garbledWords, lateWords, silentWords, statusWords, webPageWords,
} from "./sentences.ts"; // biome-ignore format: a row

/**
 * Why a stream is over; the metric's label. `refused`: a head, and no heartbeat before its end; `status`: a head that is not 200;
 * `silent`: no heartbeat for too long; `ended`: the server closed it; `broken`: the connection; `garbled`: no event lines.
 */
export type StreamLoss = "refused" | "status" | "silent" | "ended" | "broken" | "garbled";

export class StreamLost extends Error {
  readonly loss: StreamLoss;

  constructor(loss: StreamLoss, words: string, options?: { readonly cause?: unknown }) {
    super(words, options);
    this.name = "StreamLost";
    this.loss = loss;
  }
}

export interface StreamRequest {
  readonly origin: string;
  /** Which events, and from which on. */
  readonly query: string;
  /** Told each line in order; a promise holds the stream back, a `SyntaxError` says that it is no line of Nomad's. */
  readonly take: (line: Line) => void | Promise<void>;
}

type StreamBounds = Pick<
  NomadFeedBounds,
  "firstBeatMs" | "silenceMs" | "answerTimeoutMs" | "maxLineBytes"
>;

const maxRefusalBytes = 64 * 1024;

/** Allocations and nodes, from an event's own index on; undefined starts with the oldest that the server holds. */
export const feedStream = (index: number | undefined): string =>
  `topic=Allocation&topic=Node&namespace=*${index === undefined ? "" : `&index=${index}`}`;

/** What decides rights. One topic that a token may not see refuses the whole stream: these need management. */
export const aclStream = "topic=ACLToken&topic=ACLPolicy&topic=ACLRole";

const isWebPage = (headers: Dispatcher.ResponseData["headers"]): boolean =>
  headerOf(headers, "content-type")?.includes("html") === true;

const open = async (
  { servers, timers, token, region }: ServersSource,
  { origin, query }: StreamRequest,
  bounds: StreamBounds,
  signal: AbortSignal,
): Promise<Dispatcher.ResponseData["body"]> => {
  const deadline = deadlineAfter(
    timers,
    bounds.answerTimeoutMs,
    () => new StreamLost("broken", lateWords(origin)),
  );
  const controller = new AbortController();
  const forward = (): void => controller.abort(deadline.signal.reason);
  deadline.signal.addEventListener("abort", forward, { once: true });
  try {
    const answer = await servers.dispatcher.request({
      origin,
      method: "GET",
      path: inRegion(`/v1/event/stream?${query}`, region),
      headers: { accept: "application/json", ...tokenHeader(token()) },
      headersTimeout: 0,
      bodyTimeout: 0,
      signal: AbortSignal.any([signal, controller.signal]),
    });
    const { statusCode: status, headers, body } = answer;
    if (status === 200 && !isWebPage(headers)) return body;
    const said = wordsOf(await readBounded(body, maxRefusalBytes));
    throw new StreamLost(
      status === 200 ? "garbled" : "status",
      isWebPage(headers) ? webPageWords(origin, status) : statusWords(origin, status, said),
    );
  } finally {
    deadline.signal.removeEventListener("abort", forward);
    deadline.end();
  }
};

const refused = (): StreamLost =>
  new StreamLost("refused", "the stream was opened, but says nothing");

const toLost = (error: unknown, origin: string): StreamLost => {
  if (error instanceof StreamLost) return error;
  if (error instanceof SyntaxError)
    return new StreamLost("garbled", garbledWords(origin), { cause: error });
  return new StreamLost("broken", brokenWords(origin, error), { cause: error });
};

/** Ends by throwing: `StreamLost`, or the signal's reason. */
export const followEvents = async (
  source: ServersSource,
  request: StreamRequest,
  bounds: StreamBounds,
  signal: AbortSignal,
): Promise<never> => {
  const life = new AbortController();
  const both = AbortSignal.any([signal, life.signal]);
  const { timers } = source;
  const { origin } = request;
  let isHeard = false;
  let isFresh = false;
  const refuse = (): void => life.abort(refused());
  let cancel = (): void => {};
  /** One timer a period, whatever comes meanwhile. */
  const watch = (): void => {
    isFresh = false;
    cancel = timers.after(bounds.silenceMs, () => {
      if (isFresh) watch();
      else life.abort(new StreamLost("silent", silentWords(origin)));
    });
  };
  try {
    const body = await open(source, request, bounds, both);
    cancel = timers.after(bounds.firstBeatMs, refuse);
    const lines = new Lines(bounds.maxLineBytes);
    for await (const chunk of body) {
      isFresh = true;
      for (const line of lines.push(chunk)) {
        if (!isHeard) {
          isHeard = true;
          cancel();
          watch();
        }
        const held = request.take(line);
        if (held) await held;
      }
    }
    throw isHeard ? new StreamLost("ended", endedWords(origin)) : refused();
  } catch (error) {
    signal.throwIfAborted();
    throw toLost(life.signal.aborted ? life.signal.reason : error, origin);
  } finally {
    cancel();
    life.abort();
  }
};
