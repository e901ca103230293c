/**
 * One connection to `/v1/event/stream`. Nomad always says 200: whoever is refused, and whoever is dropped later, gets
 * silence and an open socket. So a stream counts as open with its first heartbeat, and as dead when it falls silent.
 */
import type { Dispatcher } from "undici";
import { errnoOf } from "../../errors.ts";
import { readBounded } from "../../lib/read-bounded.ts";
import { deadlineAfter, type ServersSource, tokenHeader, wordsOf } from "./ask.ts";
import { type Line, Lines } from "./lines.ts";
import type { NomadFeedBounds } from "./options.ts";

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
  /** An event's own index to go on from; undefined starts with the oldest that the server holds. */
  readonly index: number | undefined;
  /** Told each line in order; a promise holds the stream back. */
  readonly take: (line: Line) => void | Promise<void>;
}

type StreamBounds = Pick<
  NomadFeedBounds,
  "firstBeatMs" | "silenceMs" | "answerTimeoutMs" | "maxLineBytes"
>;

const maxRefusalBytes = 64 * 1024;

const pathOf = (index: number | undefined): string =>
  `/v1/event/stream?topic=Allocation&topic=Node&namespace=*${index === undefined ? "" : `&index=${index}`}`;

const open = async (
  { servers, timers, token }: ServersSource,
  { origin, index }: StreamRequest,
  bounds: StreamBounds,
  signal: AbortSignal,
): Promise<Dispatcher.ResponseData["body"]> => {
  const deadline = deadlineAfter(
    timers,
    bounds.answerTimeoutMs,
    () => new StreamLost("broken", "the server did not answer in time"),
  );
  const controller = new AbortController();
  const forward = (): void => controller.abort(deadline.signal.reason);
  deadline.signal.addEventListener("abort", forward, { once: true });
  try {
    const answer = await servers.dispatcher.request({
      origin,
      method: "GET",
      path: pathOf(index),
      headers: { accept: "application/json", ...tokenHeader(token()) },
      headersTimeout: 0,
      bodyTimeout: 0,
      signal: AbortSignal.any([signal, controller.signal]),
    });
    if (answer.statusCode === 200) return answer.body;
    const words = wordsOf(await readBounded(answer.body, maxRefusalBytes));
    throw new StreamLost("status", `the server says ${answer.statusCode} ${words}`);
  } finally {
    deadline.signal.removeEventListener("abort", forward);
    deadline.end();
  }
};

const refused = (): StreamLost =>
  new StreamLost("refused", "the stream was opened, but says nothing");

const toLost = (error: unknown): StreamLost =>
  error instanceof StreamLost
    ? error
    : new StreamLost("broken", `the connection broke: ${errnoOf(error) ?? "unknown reason"}`, {
        cause: error,
      });

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
  let isHeard = false;
  let isFresh = false;
  const refuse = (): void => life.abort(refused());
  let cancel = (): void => {};
  /** One timer a period, whatever comes meanwhile. */
  const watch = (): void => {
    isFresh = false;
    cancel = timers.after(bounds.silenceMs, () => {
      if (isFresh) watch();
      else life.abort(new StreamLost("silent", "the stream fell silent"));
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
    throw isHeard ? new StreamLost("ended", "the server ended the stream") : refused();
  } catch (error) {
    signal.throwIfAborted();
    throw toLost(life.signal.aborted ? life.signal.reason : error);
  } finally {
    cancel();
    life.abort();
  }
};
