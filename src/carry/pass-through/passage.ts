/**
 * One request on its way through http-proxy-middleware. The proxy is given a stand-in for the response, so that nothing
 * it does on an error touches the caller; what becomes of the request is one promise an attempt.
 */
import { type ClientRequest, type IncomingMessage, ServerResponse } from "node:http";
import { errnoOf, GatewayError } from "../../errors.ts";
import type { Credential, Exchange, Tally } from "../../ports.ts";
import { Undialled } from "./connections.ts";
import { type Delivery, deliver } from "./deliver.ts";
import { named, peer } from "./faults.ts";
import type { PassTarget } from "./target.ts";

export interface PassThroughContext {
  readonly client: Exchange["client"];
  readonly requestId: string;
  /** Goes in place of the caller's own. */
  readonly credential?: Credential | undefined;
  /** Looks at the first message of a socket; throws when it must not pass. */
  readonly checkFirst?: ((message: string) => void) | undefined;
  /** Aborts when the client leaves, the right ends or the gateway drains; reason: GatewayError. */
  readonly signal: AbortSignal;
  readonly tally: Tally;
}

export interface Limits {
  /** Milliseconds until the head of an answer; a blocking query takes up to 318.75 s. */
  readonly headMs: number;
  /** Milliseconds an upload may make no progress. */
  readonly uploadIdleMs: number;
  readonly stallMs: number;
  readonly eventSilenceMs: number;
  readonly documentSilenceMs: number;
  readonly mask: boolean;
  readonly maxMaskedBytes: number;
}

export type Outcome =
  | { readonly kind: "answered" }
  /** Nothing of it was sent. */
  | { readonly kind: "undialled"; readonly cause: unknown }
  /** A kept connection that had died before a byte was heard. */
  | { readonly kind: "lost" };

interface Settle {
  readonly resolve: (outcome: Outcome) => void;
  readonly reject: (error: GatewayError) => void;
}

const seconds = (ms: number): string => `${ms / 1000} s`;
const answered: Outcome = { kind: "answered" };

const lostCodes: ReadonlySet<string | undefined> = new Set(["ECONNRESET", "EPIPE"]);

const isSafe = ({ method }: IncomingMessage): boolean => method === "GET" || method === "HEAD";

const bodyFollows = ({ headers }: IncomingMessage): boolean =>
  headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;

export class Passage {
  readonly target: PassTarget;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #context: PassThroughContext;
  readonly #limits: Limits;
  readonly #safe: boolean;
  readonly #gone = new AbortController();
  readonly #signal: AbortSignal;
  #standIn: ServerResponse;
  #origin = "";
  #upstream: ClientRequest | undefined;
  #answer: IncomingMessage | undefined;
  #timer: NodeJS.Timeout | undefined;
  #settle: Settle | undefined;

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    context: PassThroughContext,
    target: PassTarget,
    limits: Limits,
  ) {
    this.#request = request;
    this.#response = response;
    this.#context = context;
    this.#limits = limits;
    this.#safe = isSafe(request) && !bodyFollows(request);
    this.#signal = AbortSignal.any([context.signal, this.#gone.signal]);
    this.#standIn = new ServerResponse(request);
    this.target = target;
  }

  /** Begins to watch both ends; `stop` ends it. */
  start(): void {
    this.#response.once("close", this.#left);
    this.#signal.addEventListener("abort", this.#ended, { once: true });
    if (bodyFollows(this.#request)) this.#watchUpload();
    else this.#awaitHead();
    if (this.#response.destroyed) this.#left();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#response.off("close", this.#left);
    this.#signal.removeEventListener("abort", this.#ended);
  }

  /** Ends it from outside. */
  end(reason: GatewayError): void {
    this.#gone.abort(reason);
  }

  readonly #left = (): void => {
    if (!this.#response.writableFinished) this.end(new GatewayError("client_closed"));
  };

  /** Once an answer is on its way its delivery says how it ended: it knows what came first. */
  readonly #ended = (): void => {
    if (this.#answer !== undefined) this.#upstream?.destroy();
    else this.#fail(named(this.#signal.reason, this.#signal));
  };

  #awaitHead(): void {
    const limit = seconds(this.#limits.headMs);
    const late = (): void => this.#fail(new GatewayError("upstream_timeout", { peer, limit }));
    clearTimeout(this.#timer);
    if (this.#answer === undefined) this.#timer = setTimeout(late, this.#limits.headMs);
  }

  /** Looks now and then whether bytes of the caller's body came; whoever stands still is named. */
  #watchUpload(): void {
    const { uploadIdleMs } = this.#limits;
    const { socket } = this.#request;
    let seen = -1;
    const look = (): void => {
      const { bytesRead } = socket;
      if (this.#request.complete) this.#awaitHead();
      else if (bytesRead === seen) this.#fail(this.#stuck());
      else this.#timer = setTimeout(look, uploadIdleMs);
      seen = bytesRead;
    };
    this.#request.once("end", () => this.#awaitHead());
    look();
  }

  #stuck(): GatewayError {
    const limit = seconds(this.#limits.uploadIdleMs);
    return this.#upstream?.writableNeedDrain
      ? new GatewayError("upstream_timeout", { peer, limit })
      : new GatewayError("client_too_slow", { limit });
  }

  /* ---- one attempt ---- */

  /** Sends the request to one server. Rejects with a GatewayError. */
  attempt(origin: string, proxy: (standIn: ServerResponse) => Promise<void>): Promise<Outcome> {
    this.#origin = origin;
    this.#upstream = undefined;
    this.#standIn = new ServerResponse(this.#request);
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
      if (this.#signal.aborted) this.#ended();
      else void proxy(this.#standIn);
    });
  }

  #done(): Settle | undefined {
    const settle = this.#settle;
    this.#settle = undefined;
    return settle;
  }

  #fail(error: GatewayError): void {
    const settle = this.#done();
    this.#upstream?.destroy();
    this.#standIn.emit("close"); // tells the proxy that nobody waits any more
    settle?.reject(error);
  }

  /* ---- the proxy's events, for the stand-in of this attempt ---- */

  /** The connection is there; the body begins to flow after this. */
  onDialled(upstream: ClientRequest): void {
    if (this.#settle === undefined) {
      upstream.destroy();
      return;
    }
    this.#upstream = upstream;
    const { tally } = this.#context;
    this.#request.on("data", (chunk: Buffer) => {
      tally.bytesIn += chunk.length;
    });
    upstream.once("close", () => {
      if (this.#upstream === upstream && this.#answer === undefined)
        this.onError(new Error("closed without an answer"));
    });
  }

  onError(error: unknown): void {
    if (this.#answer !== undefined) this.#breakOff(this.#answer, error);
    else if (error instanceof Undialled)
      this.#done()?.resolve({ kind: "undialled", cause: error.cause });
    else if (this.#isLost(error)) this.#done()?.resolve({ kind: "lost" });
    else this.#fail(named(error, this.#signal));
  }

  /** Told before the body's end: a body that only its connection ends would look whole after a reset. */
  #breakOff(answer: IncomingMessage, error: unknown): void {
    if (!answer.complete) this.end(named(error, this.#signal));
  }

  #isLost(error: unknown): boolean {
    return this.#safe && this.#upstream?.reusedSocket === true && lostCodes.has(errnoOf(error));
  }

  onAnswer(answer: IncomingMessage): void {
    if (this.#settle === undefined) {
      answer.destroy();
      return;
    }
    this.#answer = answer;
    clearTimeout(this.#timer);
    this.#upstream?.setTimeout(0); // the proxy's, for a head alone: what was begun may be silent
    deliver(this.#delivery(), answer).then(
      () => {
        this.#done()?.resolve(answered);
        this.#standIn.emit("close");
      },
      (error: unknown) => this.#fail(named(error, this.#signal)),
    );
  }

  #delivery(): Delivery {
    const { client, tally } = this.#context;
    const { kind } = this.target;
    return {
      ...this.#limits,
      response: this.#response,
      client,
      signal: this.#signal,
      kind,
      origin: this.#origin,
      tally,
    };
  }
}
