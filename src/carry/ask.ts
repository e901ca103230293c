/**
 * One request to an agent through undici: whatever happens, the promise settles once, the agent's connection is not
 * left behind, and a refusal is a GatewayError. Back-pressure is the listener's word.
 */
import type { IncomingHttpHeaders } from "node:http";
import { type Dispatcher, errors } from "undici";
import { errnoOf, GatewayError, toGatewayError } from "../errors.ts";
import type { Reach } from "../ports.ts";
import type { AgentRequest } from "./request.ts";
import { brokenOff } from "./ways.ts";

/** What the listener may do to the answer on its way. */
export interface Flow {
  resume(): void;
  /** Enough: the promise resolves and the agent is let go. */
  stop(): void;
  /** The promise rejects and the agent is let go. */
  fail(error: GatewayError): void;
}

/** Takes an answer. What it throws ends the request. */
export interface Listener {
  /** `collects`: the deadline runs on until the body is whole. */
  head(status: number, headers: IncomingHttpHeaders, flow: Flow): "streams" | "collects";
  /** False stops the agent until `flow.resume()`. */
  data(chunk: Buffer): boolean;
  end(): void;
}

export interface Terms {
  readonly reach: Reach;
  readonly signal: AbortSignal;
  /** Milliseconds until the head (or the whole of a collected answer); undefined: as long as it takes. */
  readonly deadlineMs: number | undefined;
  /** Milliseconds the agent may be silent inside a body; 0: as long as it likes. */
  readonly silenceMs: number;
}

const lostCodes: ReadonlySet<string | undefined> = new Set([
  "ECONNRESET",
  "EPIPE",
  "UND_ERR_SOCKET",
]);
const enough = new Error("the answer is not needed any more");

const bodiless: ReadonlySet<number> = new Set([204, 304]);

/** A body that only the connection's end ends looks whole when its agent died (undici takes even a reset for an end). */
const hasEnd = (status: number, headers: IncomingHttpHeaders): boolean =>
  bodiless.has(status) ||
  headers["content-length"] !== undefined ||
  headers["transfer-encoding"] !== undefined;

const seconds = (ms: number): string => `${ms / 1000} s`;

class Asking implements Dispatcher.DispatchHandler, Flow {
  readonly #request: AgentRequest;
  readonly #terms: Terms;
  readonly #listener: Listener;
  readonly #resolve: () => void;
  readonly #reject: (error: GatewayError) => void;
  #controller: Dispatcher.DispatchController | undefined;
  #timer: NodeJS.Timeout | undefined;
  #state: "asked" | "heard" | "answered" | "settled" = "asked";
  #retried = false;

  constructor(
    request: AgentRequest,
    terms: Terms,
    listener: Listener,
    settle: { resolve: () => void; reject: (error: GatewayError) => void },
  ) {
    this.#request = request;
    this.#terms = terms;
    this.#listener = listener;
    this.#resolve = settle.resolve;
    this.#reject = settle.reject;
  }

  start(): void {
    const { signal, deadlineMs } = this.#terms;
    if (signal.aborted) {
      this.#left();
      return;
    }
    signal.addEventListener("abort", this.#left);
    if (deadlineMs !== undefined) this.#timer = setTimeout(this.#late, deadlineMs);
    this.#dispatch();
  }

  #dispatch(): void {
    const { method, path, headers, body } = this.#request;
    try {
      this.#terms.reach.dispatcher.dispatch(
        {
          origin: this.#terms.reach.origin,
          method,
          path,
          headers,
          body: body ?? null,
          headersTimeout: 0,
          bodyTimeout: this.#terms.silenceMs,
        },
        this,
      );
    } catch (error) {
      this.#broke(error);
    }
  }

  readonly #left = (): void => this.#broke(this.#terms.signal.reason);

  readonly #late = (): void => {
    const limit = seconds(this.#terms.deadlineMs ?? 0);
    this.#broke(new GatewayError("upstream_timeout", { node: this.#terms.reach.node.name, limit }));
  };

  #done(): boolean {
    if (this.#state === "settled") return false;
    this.#state = "settled";
    clearTimeout(this.#timer);
    this.#terms.signal.removeEventListener("abort", this.#left);
    return true;
  }

  /** The error in our words. A socket lost while a head was coming in gave no proper head. */
  #named(error: unknown): GatewayError {
    const { signal, reach } = this.#terms;
    const named = brokenOff(toGatewayError(error, signal, reach.node.name), error);
    const facts = { node: reach.node.name };
    // undici's parser errors have no code (8.13.1 looks it up the wrong way round)
    if (error instanceof errors.HTTPParserError)
      return new GatewayError("upstream_invalid", facts, { cause: error });
    if (this.#state === "heard" && (named.code === "upstream_broke" || named.code === "internal"))
      return new GatewayError(
        "upstream_invalid",
        { ...facts, reason: "not a proper head" },
        { cause: error },
      );
    if (named.code === "internal" && /^UND_ERR_(?!INVALID)/.test(errnoOf(error) ?? ""))
      return new GatewayError("upstream_broke", facts, { cause: error });
    return named;
  }

  #broke(error: unknown): void {
    const named = this.#named(error);
    if (!this.#done()) return;
    this.#controller?.abort(named);
    if (!this.#terms.signal.aborted) this.#terms.reach.failed(named);
    this.#reject(named);
  }

  #guarded(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#broke(error);
    }
  }

  /* ---- the listener's verbs ---- */

  resume(): void {
    if (this.#state === "answered") this.#controller?.resume();
  }

  stop(): void {
    if (!this.#done()) return;
    this.#controller?.abort(enough);
    this.#resolve();
  }

  fail(error: GatewayError): void {
    this.#broke(error);
  }

  /* ---- undici's calls, in their order ---- */

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    if (this.#state === "settled") controller.abort(enough);
  }

  onResponseStarted(): void {
    if (this.#state === "asked") this.#state = "heard";
  }

  onResponseStart(
    _controller: Dispatcher.DispatchController,
    status: number,
    headers: IncomingHttpHeaders,
  ): void {
    if (status < 200 || this.#state === "settled") return; // interim answers are ignored
    this.#state = "answered";
    this.#guarded(() => {
      if (!hasEnd(status, headers))
        throw new GatewayError("upstream_invalid", {
          node: this.#terms.reach.node.name,
          reason: "neither a length nor chunks",
        });
      const mode = this.#listener.head(status, headers, this);
      this.#terms.reach.succeeded();
      if (mode === "streams") clearTimeout(this.#timer);
    });
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#state !== "answered") return;
    this.#guarded(() => {
      if (!this.#listener.data(chunk)) controller.pause();
    });
  }

  onResponseEnd(): void {
    if (this.#state !== "answered") return;
    this.#guarded(() => {
      this.#listener.end();
      if (this.#done()) this.#resolve();
    });
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (this.#state === "settled") return;
    if (!this.#mayRetry(error)) {
      this.#broke(error);
      return;
    }
    this.#retried = true;
    this.#controller = undefined;
    this.#dispatch();
  }

  /** A kept connection that died before a byte was heard: a read is asked once more. */
  #mayRetry(error: Error): boolean {
    return (
      this.#state === "asked" &&
      this.#request.safe &&
      !this.#retried &&
      !this.#terms.signal.aborted &&
      lostCodes.has(errnoOf(error))
    );
  }
}

/** Resolves when the listener has had the whole answer or stopped it; rejects with a GatewayError. */
export const ask = (request: AgentRequest, terms: Terms, listener: Listener): Promise<void> =>
  new Promise((resolve, reject) => {
    new Asking(request, terms, listener, { resolve, reject }).start();
  });
