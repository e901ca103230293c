/**
 * One request to an agent: whatever happens, the promise settles once, the agent's connection is not left behind, and a
 * refusal is a GatewayError. Back-pressure is the listener's word.
 */
import { errnoOf, GatewayError, toGatewayError } from "../errors.ts";
import { Deadlines, type Due } from "../lib/deadlines.ts";
import type { Reach } from "../ports.ts";
import { type Head, type Headers, InvalidAnswer } from "../upstream/head.ts";
import type { Asked, Asker } from "../upstream/pool.ts";
import type { AgentRequest } from "./request.ts";
import { Silence } from "./silence.ts";
import { brokenOff } from "./ways.ts";

/** What the listener may do to the answer on its way. */
export interface Flow {
  resume(): void;
  /** Enough: the promise resolves and the agent is let go. */
  stop(): void;
  /** The promise rejects and the agent is let go. */
  fail(error: GatewayError): void;
  /** Said with the head: what the agent may be silent inside this body, other than the terms have it. */
  watch(silenceMs: number): void;
  /**
   * Said with the head of a download: pieces come with the framing of the chunks that they are sent in, all but the last chunk. False for a body in
   * no chunks, and when some of it has come without: it comes as it is.
   */
  relay(): boolean;
}

/** Takes an answer. What it throws ends the request. */
export interface Listener {
  /** `collects`: the deadline runs on until the body is whole. `downloads`: much may come; `follows`: little at a time. */
  head(status: number, headers: Headers, flow: Flow): "collects" | "downloads" | "follows";
  /**
   * False stops the agent until `flow.resume()`. The chunk is used no more once `done` was called, where that is given; `payload` of its bytes
   * are no framing.
   */
  data(chunk: Buffer, done: (() => void) | undefined, payload: number): boolean;
  end(): void;
  /** Asked behind `end`: the request is over once this is settled, and as it is; undefined: at once. */
  over?(): Promise<void> | undefined;
}

export interface Terms {
  readonly reach: Reach;
  readonly signal: AbortSignal;
  /** Milliseconds until the head (or the whole of a collected answer); undefined: as long as it takes. */
  readonly deadlineMs: number | undefined;
  /** `sending`: it waits for one of the node's connections as long as it takes, and the deadline begins behind that. */
  readonly deadlineFrom?: "asking" | "sending";
  /** Milliseconds the agent may be silent inside a body; 0: as long as it likes. */
  readonly silenceMs: number;
}

const lostCodes: ReadonlySet<string | undefined> = new Set([
  "ECONNRESET",
  "EPIPE",
  "ERR_CONNECTION_LOST",
  "ERR_HTTP2_SESSION_ERROR",
  "ERR_HTTP2_STREAM_ERROR",
]);

const seconds = (ms: number): string => `${ms / 1000} s`;

/** Of the whole process, as its timers are. */
const deadlines = new Deadlines();

class Asking implements Asker, Flow, Due {
  readonly #request: AgentRequest;
  readonly #terms: Terms;
  readonly #listener: Listener;
  readonly #resolve: (over?: Promise<void>) => void;
  readonly #reject: (error: GatewayError) => void;
  #asked: Asked | undefined;
  #silence: Silence | undefined;
  #silenceMs: number;
  #isPaused = false;
  #state: "asked" | "heard" | "answered" | "settled" = "asked";
  /** For others to be over: all of the node's connections are taken. */
  #waits = false;
  #retried = false;
  #mayRelay = false;
  #relays = false;

  constructor(
    request: AgentRequest,
    terms: Terms,
    listener: Listener,
    settle: {
      resolve: (over?: Promise<void>) => void;
      reject: (error: GatewayError) => void;
    },
  ) {
    this.#request = request;
    this.#terms = terms;
    this.#silenceMs = terms.silenceMs;
    this.#listener = listener;
    this.#resolve = settle.resolve;
    this.#reject = settle.reject;
  }

  start(): void {
    const { signal, deadlineMs, deadlineFrom = "asking" } = this.#terms;
    if (signal.aborted) {
      this.handleEvent();
      return;
    }
    signal.addEventListener("abort", this);
    if (deadlineFrom === "asking" && deadlineMs !== undefined) deadlines.set(this, deadlineMs);
    this.#dispatch();
  }

  #dispatch(): void {
    try {
      const { pool } = this.#terms.reach;
      this.#asked = pool.request(this.#request, this);
      this.#waits = pool.isShort;
    } catch (error) {
      this.#broke(error);
    }
  }

  /** The exchange was ended. */
  handleEvent(): void {
    this.#broke(this.#terms.signal.reason);
  }

  /** The deadline was not met. */
  passed(): void {
    const { deadlineMs = 0 } = this.#terms;
    if (this.#waits) this.#crowdedOut(deadlineMs);
    else this.#late(deadlineMs);
  }

  #crowdedOut(ms: number): void {
    const { node, pool } = this.#terms.reach;
    const limit = `${pool.bound} were busy for ${seconds(ms)}`;
    this.#broke(new GatewayError("overloaded", { node: node.name, limit }));
  }

  #late(ms: number): void {
    const { name } = this.#terms.reach.node;
    this.#broke(new GatewayError("upstream_timeout", { node: name, limit: seconds(ms) }));
  }

  #done(): boolean {
    if (this.#state === "settled") return false;
    this.#state = "settled";
    this.#endDeadline();
    this.#silence?.stop();
    this.#terms.signal.removeEventListener("abort", this);
    return true;
  }

  #endDeadline(): void {
    const { deadlineMs } = this.#terms;
    if (deadlineMs !== undefined) deadlines.clear(this, deadlineMs);
  }

  /** An agent that is silent in the midst of a body; one whose caller does not read may be. */
  #silent(): void {
    if (this.#isPaused) this.#silence?.beginAnew();
    else this.#late(this.#silenceMs);
  }

  /** The error in our words. A socket lost while a head was coming in gave no proper head. */
  #named(error: unknown): GatewayError {
    const { signal, reach } = this.#terms;
    const named = brokenOff(toGatewayError(error, signal, reach.node.name), error);
    const facts = { node: reach.node.name };
    if (error instanceof InvalidAnswer)
      return new GatewayError(
        "upstream_invalid",
        { ...facts, reason: error.message },
        { cause: error },
      );
    if (this.#state === "heard" && (named.code === "upstream_broke" || named.code === "internal"))
      return new GatewayError(
        "upstream_invalid",
        { ...facts, reason: "not a proper head" },
        { cause: error },
      );
    return named;
  }

  #broke(error: unknown): void {
    const named = this.#named(error);
    if (!this.#done()) return;
    this.#asked?.abort();
    if (!this.#terms.signal.aborted) this.#terms.reach.failed(named);
    this.#reject(named);
  }

  /* ---- the listener's verbs ---- */

  resume(): void {
    this.#isPaused = false;
    this.#silence?.beginAnew(); // the time in which it was not listened to is not its silence
    if (this.#state === "answered") this.#asked?.resume();
  }

  stop(): void {
    if (!this.#done()) return;
    this.#asked?.abort();
    this.#resolve();
  }

  fail(error: GatewayError): void {
    this.#broke(error);
  }

  watch(silenceMs: number): void {
    this.#silenceMs = silenceMs;
  }

  relay(): boolean {
    this.#relays ||= this.#mayRelay;
    return this.#relays;
  }

  /* ---- the connection's calls, in their order ---- */

  sent(): void {
    this.#waits = false;
    const { deadlineMs, deadlineFrom } = this.#terms;
    if (deadlineFrom !== "sending" || deadlineMs === undefined) return;
    deadlines.clear(this, deadlineMs); // of what was lost, and is sent once more
    deadlines.set(this, deadlineMs);
  }

  started(): void {
    if (this.#state === "asked") this.#state = "heard";
  }

  head({ status, headers, framing }: Head): "bulk" | "chunks" | "small" {
    this.#state = "answered";
    this.#mayRelay = framing.kind === "chunked";
    const mode = this.#listener.head(status, headers, this);
    this.#terms.reach.succeeded();
    if (mode !== "collects") this.#watchSilence();
    this.#mayRelay = false;
    if (this.#relays) return "chunks";
    return mode === "downloads" ? "bulk" : "small";
  }

  data(chunk: Buffer, done: (() => void) | undefined, payload: number): boolean {
    if (this.#state !== "answered") {
      done?.();
      return true;
    }
    this.#silence?.beginAnew();
    this.#isPaused = !this.#listener.data(chunk, done, payload);
    return !this.#isPaused;
  }

  end(): void {
    if (this.#state !== "answered") return;
    try {
      this.#listener.end();
      if (this.#done()) this.#resolve(this.#listener.over?.());
    } catch (error) {
      this.#broke(error);
    }
  }

  failed(error: unknown): void {
    if (this.#state === "settled") return;
    if (!this.#mayRetry(error)) {
      this.#broke(error);
      return;
    }
    this.#retried = true;
    this.#terms.reach.pool.endIdle();
    this.#dispatch();
  }

  #watchSilence(): void {
    if (this.#state === "settled") return; // the head was all that was wanted
    this.#endDeadline();
    if (this.#silenceMs > 0) this.#silence = new Silence(this.#silenceMs, () => this.#silent());
  }

  /** A kept connection that died before a byte was heard: a read is asked once more. */
  #mayRetry(error: unknown): boolean {
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
