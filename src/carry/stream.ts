/**
 * An answer of any length, passed on as it comes: the head the moment it is there, back-pressure from the caller's
 * socket to the agent's, and after the head one way to fail, which is to cut.
 */
import { GatewayError } from "../errors.ts";
import type { Headers } from "../upstream/head.ts";
import { ask, type Flow, type Listener } from "./ask.ts";
import { type Carrying, heard } from "./carriage.ts";
import { chunkOf, lastChunk, takeChunks } from "./chunks.ts";
import { collect } from "./collect.ts";
import { cut, delivered, tooSlow } from "./cut.ts";
import { checkStatus, statedLength, toClient } from "./headers.ts";
import { agentRequest } from "./request.ts";

/** How a download and a follow differ. */
export interface StreamTerms {
  readonly deadlineMs: number | undefined;
  readonly silenceMs: number;
  readonly stallMs: number;
  /** Each piece is wanted at once: the head is flushed and proxies are told not to gather. */
  readonly live: boolean;
  /** In place of the agent's 200. */
  readonly status?: number;
  /** Besides the agent's own. */
  readonly headers?: Readonly<Record<string, string>>;
}

const firstRefusal = 400;
const liveHeaders = { "X-Accel-Buffering": "no" };

const lengthHeader = (length: number | undefined): Record<string, string> =>
  length === undefined ? {} : { "Content-Length": String(length) };

/** The head of an answer that streams. */
export const sendHead = (
  carrying: Carrying,
  terms: StreamTerms,
  status: number,
  headers: Headers,
): void => {
  const { reach, response } = carrying;
  const node = reach.node.name;
  const passed = toClient(headers, "file", node);
  const hasBody = status !== 204; // and no length either (RFC 9110 §8.6)
  const length = lengthHeader(hasBody ? statedLength(headers, node) : undefined);
  heard(carrying);
  response.writeHead(terms.status ?? status, {
    ...passed,
    ...(terms.live ? liveHeaders : {}),
    ...terms.headers,
    ...length,
  });
  if (!terms.live) return;
  response.socket?.setNoDelay(true);
  response.flushHeaders();
};

/** A listener that passes an answer on, or the refusal that it is. */
export const copy = (carrying: Carrying, terms: StreamTerms): Listener => {
  const { exchange, reach, tally, response } = carrying;
  const refusal = collect(carrying, "file");
  let refused = false;
  /** What the body's chunks are written by: the response itself, or here, or they are those that the agent has sent. */
  let chunks: "response" | "ours" | "agent's" = "response";
  let waiting = false;
  let isTimed = false;
  const open = (flow: Flow): void => {
    const onDrain = (): void => {
      waiting = false;
      tally.callerStalledAtMs = undefined;
      flow.resume();
    };
    response.on("drain", onDrain);
    response.once("close", () => {
      if (!response.writableEnded) flow.fail(new GatewayError("client_closed"));
    });
    response.on("timeout", () => {
      isTimed = false; // it rings once
      if (waiting) flow.fail(tooSlow(terms.stallMs));
    });
    if (exchange.method !== "HEAD") return;
    response.end();
    flow.stop();
  };
  return {
    head(status, headers, flow) {
      checkStatus(status, reach.node.name);
      refused = status >= firstRefusal;
      if (refused) return refusal.head(status, headers, flow);
      sendHead(carrying, terms, status, headers);
      open(flow);
      if (terms.live) chunks = takeChunks(response) ? "ours" : "response";
      else if (response.chunkedEncoding && flow.relay()) {
        takeChunks(response);
        chunks = "agent's";
      }
      return terms.live ? "follows" : "downloads";
    },
    data(chunk, done, payload) {
      if (refused) return refusal.data(chunk, done, payload);
      tally.bytesOut += payload;
      waiting = !response.write(chunks === "ours" ? chunkOf(chunk) : chunk, done);
      if (!waiting) return true;
      tally.callerStalledAtMs ??= performance.now();
      if (!isTimed) response.setTimeout(terms.stallMs);
      isTimed = true;
      return false;
    },
    end() {
      if (refused) return refusal.end();
      response.end(chunks === "response" ? undefined : lastChunk);
    },
  };
};

/** A way that could not be taken is no refusal any more once the caller has a head: its answer broke, and no other is taken. */
const brokenOff = (error: unknown, { exchange, reach }: Carrying): unknown => {
  if (exchange.signal.aborted || !(error instanceof GatewayError) || !error.retryable) return error;
  const reason = error.facts.reason ?? error.words;
  return new GatewayError("upstream_broke", { node: reach.node.name, reason }, { cause: error });
};

/** Once the head was sent every failure cuts the caller's connection. */
export const orCut = async (carrying: Carrying, send: () => Promise<void>): Promise<void> => {
  try {
    await send();
  } catch (error) {
    if (!carrying.response.headersSent) throw error;
    const broken = brokenOff(error, carrying);
    cut(carrying.response);
    throw broken;
  }
};

/** Resolves when the caller has been handed all of it. */
export const handedOver = (
  { exchange, tally, response }: Carrying,
  { stallMs }: StreamTerms,
): Promise<void> => {
  if (!response.writableFinished) tally.callerStalledAtMs ??= performance.now();
  return delivered(response, exchange.signal, stallMs);
};

/** Carries one stream to its end. */
export const stream = (
  carrying: Carrying,
  terms: StreamTerms,
  listener: Listener = copy(carrying, terms),
): Promise<void> =>
  orCut(carrying, async () => {
    const { exchange, reach } = carrying;
    const { signal } = exchange;
    const { deadlineMs, silenceMs } = terms;
    await ask(
      agentRequest(exchange, reach.node),
      { reach, signal, deadlineMs, silenceMs },
      listener,
    );
    await handedOver(carrying, terms);
  });
