/**
 * An answer of a server on its way to the caller: as it comes, or held whole when it has to be changed. After the head
 * there is one way to fail, which is to cut.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { pipeline } from "node:stream/promises";
import { GatewayError } from "../../errors.ts";
import { readBounded } from "../../lib/read-bounded.ts";
import type { Exchange, Tally } from "../../ports.ts";
import { cut, delivered, reset, tooSlow } from "../cut.ts";
import { Silence } from "../silence.ts";
import { invalidAnswer, named, peer } from "./faults.ts";
import { type Head, toCaller } from "./headers.ts";
import { maskNode } from "./mask.ts";
import type { Kind } from "./target.ts";

export interface Delivery {
  readonly response: ServerResponse;
  readonly client: Exchange["client"];
  readonly signal: AbortSignal;
  readonly kind: Kind;
  /** The server that answers. */
  readonly origin: string;
  readonly tally: Tally;
  /** True: a node's document leads back to the gateway. */
  readonly mask: boolean;
  readonly maxMaskedBytes: number;
  /** Milliseconds a caller may take nothing of what waits for it. */
  readonly stallMs: number;
  /** Milliseconds an event stream may be silent. */
  readonly eventSilenceMs: number;
  /** Milliseconds a server may be silent in the midst of a document. */
  readonly documentSilenceMs: number;
  /** Milliseconds until an answer is whole whose head waits for that. */
  readonly headMs: number;
}

const bodiless: ReadonlySet<number> = new Set([204, 304]);

const hasBody = (response: ServerResponse, { status }: Head): boolean =>
  response.req.method !== "HEAD" && !bodiless.has(status);

/** Throws for what no header can carry. */
const writeHead = (response: ServerResponse, head: Head, length: number | undefined): void => {
  try {
    for (const [name, values] of head.headers)
      response.setHeader(name, values.length === 1 ? (values[0] ?? "") : [...values]);
  } catch (cause) {
    for (const name of head.headers.keys()) response.removeHeader(name);
    throw invalidAnswer("its header is not proper", cause);
  }
  if (length !== undefined) response.setHeader("Content-Length", length);
  if (!response.req.complete) response.setHeader("Connection", "close"); // the rest of its body is not read
  response.writeHead(head.status);
};

/** Cut where the connection's end is all that ends a body, a plain end would look whole. */
const cutOf =
  (response: ServerResponse, endless: boolean): (() => void) =>
  () => {
    if (endless) reset(response);
    cut(response);
  };

/** It was whole before its head was sent. What follows a log or a monitor has neither, and may have nothing to say. */
const isDocument = ({ headers }: IncomingMessage): boolean =>
  headers["content-length"] !== undefined || headers["x-nomad-index"] !== undefined;

/** Says `broke` when a server that should not be silent is; the time in which it is not listened to is not its silence. */
const watchSilence = (
  answer: IncomingMessage,
  silenceMs: number,
  broke: (error: GatewayError) => void,
): (() => void) => {
  const limit = `${silenceMs / 1000} s`;
  const silence = new Silence(silenceMs, () => {
    if (answer.isPaused()) silence.beginAnew();
    else broke(new GatewayError("upstream_timeout", { peer, limit }));
  });
  const heard = (): void => silence.beginAnew();
  const stop = (): void => {
    silence.stop();
    answer.off("data", heard);
    answer.off("resume", heard);
  };
  answer.on("data", heard);
  answer.on("resume", heard);
  answer.once("end", stop);
  return stop;
};

/** Says `broke` when the caller takes nothing for too long, or the server says nothing that should. */
const watch = (
  { response, stallMs, eventSilenceMs, documentSilenceMs, tally }: Delivery,
  answer: IncomingMessage,
  isEvents: boolean,
  broke: (error: GatewayError) => void,
): (() => void) => {
  const isWatched = isEvents || isDocument(answer);
  const silenceMs = isEvents ? eventSilenceMs : documentSilenceMs;
  const stopSilence = isWatched ? watchSilence(answer, silenceMs, broke) : undefined;
  const waits = (sinceMs: number | undefined): void => {
    tally.callerStalledAtMs = sinceMs;
  };
  answer.on("data", (chunk: Buffer) => {
    tally.bytesOut += chunk.length;
  });
  answer.on("pause", () => waits(performance.now())); // by the pipeline, until the caller has taken what waits
  response.on("drain", () => waits(undefined));
  answer.on("end", () => waits(performance.now())); // for its last bytes, which nobody is told of
  const onStall = (): void => {
    if (response.writableLength > 0) broke(tooSlow(stallMs)); // also where it has room for more
  };
  response.on("timeout", onStall);
  response.setTimeout(stallMs);
  return () => {
    stopSilence?.();
    response.off("timeout", onStall);
  };
};

/** Listener, visit, passage and pipeline all wait for an answer's end; from eleven on Node writes to stderr, for each answer. */
const maxListeners = 20;

/** Passes a body on as it comes. Rejects after the caller's connection was cut. */
const stream = async (delivery: Delivery, answer: IncomingMessage, head: Head): Promise<void> => {
  const { response, kind, signal } = delivery;
  const isEvents = kind === "events" && head.status === 200;
  if (isEvents) {
    response.useChunkedEncodingByDefault = false; // as Nomad does: its end is the connection's
    response.setHeader("Connection", "close");
  }
  let reason: GatewayError | undefined;
  const cutNow = cutOf(response, isEvents);
  const broke = (error: GatewayError): void => {
    reason ??= error;
    cutNow();
    answer.destroy();
  };
  const onAbort = (): void => broke(signal.reason);
  // before the pipeline ends the connection in a way that looks whole
  answer.on("error", (error) => broke(named(error, signal)));
  writeHead(response, head, isEvents ? undefined : head.length);
  response.socket?.setNoDelay(true);
  response.flushHeaders();
  response.setMaxListeners(maxListeners);
  const done = watch(delivery, answer, isEvents, broke);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    await pipeline(answer, response);
    if (reason !== undefined) throw reason; // a reset has ended the answer as an end would
  } catch (cause) {
    throw reason ?? named(cause, signal);
  } finally {
    done();
    signal.removeEventListener("abort", onAbort);
  }
};

/** A body whole, and in time. */
const readWhole = async (
  { signal, maxMaskedBytes, headMs }: Delivery,
  answer: IncomingMessage,
): Promise<Buffer> => {
  const limit = `${headMs / 1000} s`;
  const late = (): GatewayError => new GatewayError("upstream_timeout", { peer, limit });
  const timer = setTimeout(() => answer.destroy(late()), headMs);
  const tooLarge = (): GatewayError => invalidAnswer(`a node larger than ${maxMaskedBytes} bytes`);
  try {
    return await readBounded(answer, maxMaskedBytes, tooLarge);
  } catch (error) {
    throw named(error, signal);
  } finally {
    clearTimeout(timer);
  }
};

/** Holds a node's document, masks it and sends it. */
const sendMasked = async (
  delivery: Delivery,
  answer: IncomingMessage,
  head: Head,
): Promise<void> => {
  const { response, client, signal, stallMs, tally } = delivery;
  if (answer.headers["content-encoding"] !== undefined)
    throw invalidAnswer("a coding that was not asked for");
  const body = await readWhole(delivery, answer);
  let masked: Buffer;
  try {
    masked = maskNode(body, client);
  } catch (cause) {
    throw invalidAnswer("its document is no JSON", cause);
  }
  signal.throwIfAborted();
  writeHead(response, head, masked.length);
  response.end(masked);
  tally.bytesOut += masked.length;
  await delivered(response, signal, stallMs);
};

const isFramed = ({ headers }: IncomingMessage): boolean =>
  headers["content-length"] !== undefined || headers["transfer-encoding"] !== undefined;

/** Resolves when the caller has the whole answer. Rejects before a head was sent, or after the caller was cut. */
export const deliver = async (delivery: Delivery, answer: IncomingMessage): Promise<void> => {
  const { response, kind, mask, origin, signal, stallMs } = delivery;
  answer.on("error", () => undefined);
  const head = toCaller(answer, origin, kind !== "ui");
  const isMasked = mask && kind === "node" && head.status === 200;
  if (!hasBody(response, head)) {
    answer.resume();
    writeHead(response, head, isMasked || bodiless.has(head.status) ? undefined : head.length);
    response.end();
    return delivered(response, signal, stallMs);
  }
  if (!isFramed(answer) && kind !== "events") throw invalidAnswer("neither a length nor chunks");
  if (isMasked) return sendMasked(delivery, answer, head);
  return stream(delivery, answer, head);
};
