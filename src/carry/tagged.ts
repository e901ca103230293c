/**
 * The `ETag` of a whole file from an agent that sends none, as Nomad's do not: where more than a MiB comes, one `stat` beside it
 * says which version that is, before the head is sent. A small file stays one request.
 */
import { toGatewayError } from "../errors.ts";
import type { Headers } from "../upstream/head.ts";
import type { Flow, Listener } from "./ask.ts";
import type { Carrying } from "./carriage.ts";
import { willChunk } from "./chunks.ts";
import { Held } from "./held.ts";
import { look, unheard } from "./look.ts";

const mib = 1024 * 1024;
/** Of what changed so shortly before the answer nobody can say which version the first bytes are of: clocks differ. */
const settledMs = 60_000;
/** MiBs held at one time by one gateway; whoever comes beside them gets no ETag. */
const maxHolding = 32;

export interface Tagged extends Listener {
  /** The answer is over, however it ended. */
  stop(): void;
}

const isUntagged = (status: number, headers: Headers): boolean =>
  status === 200 &&
  headers["etag"] === undefined &&
  headers["content-length"] === undefined && // a short one, or none of Nomad's
  headers["content-security-policy"] !== undefined; // words in place of a file have none

/** Undefined when nobody can vouch for it. */
const tagOf = async (
  carrying: Carrying,
  { date }: Headers,
  bytes: number,
): Promise<string | undefined> => {
  const answeredAtMs = typeof date === "string" ? Date.parse(date) : Number.NaN;
  try {
    const file = await look(carrying, unheard, carrying.limits.lookMs);
    if (file === undefined || file.isDirectory || file.size < bytes) return undefined;
    return answeredAtMs - file.changedAtMs > settledMs ? file.tag : undefined;
  } catch {
    return undefined; // the file comes all the same
  }
};

/** The bodies of a gateway that are held now. */
interface Holding {
  count: number;
}

/** `passed`: as it comes. `held`: its first MiB is awaited. `looked_at`: there is more than that. */
type State = "passed" | "held" | "looked_at";

class Tagging implements Tagged {
  readonly #carrying: Carrying;
  readonly #inner: Listener;
  readonly #holding: Holding;
  readonly #held = new Held();
  #state: State = "passed";
  #answer: { readonly status: number; readonly headers: Headers; readonly flow: Flow } | undefined;
  #isWhole = false;
  #looking: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(carrying: Carrying, inner: Listener, holding: Holding) {
    this.#carrying = carrying;
    this.#inner = inner;
    this.#holding = holding;
  }

  head(status: number, headers: Headers, flow: Flow): "collects" | "downloads" | "follows" {
    const isFull = this.#holding.count >= maxHolding;
    if (this.#carrying.exchange.method !== "GET" || isFull || !isUntagged(status, headers))
      return this.#inner.head(status, headers, flow);
    this.#holding.count += 1;
    this.#answer = { status, headers, flow };
    this.#state = "held";
    if (willChunk(this.#carrying.response)) flow.relay(); // what is held goes on as it came, too
    this.#timer = setTimeout(
      () => this.#guarded(() => this.#pass(undefined)),
      this.#carrying.limits.quickMs,
    );
    return "downloads";
  }

  data(chunk: Buffer, done: (() => void) | undefined, payload: number): boolean {
    if (this.#state === "passed") return this.#inner.data(chunk, done, payload);
    this.#held.add(chunk, payload);
    done?.();
    if (this.#state === "held" && this.#held.payload > mib) this.#looking = this.#look();
    return this.#state === "held";
  }

  end(): void {
    this.#isWhole = true;
    if (this.#state === "looked_at") return; // it ends when that is done
    if (this.#state === "held") this.#pass(undefined);
    else this.#inner.end();
  }

  over(): Promise<void> | undefined {
    return this.#state === "looked_at" ? this.#looking : undefined;
  }

  stop(): void {
    this.#state = "passed";
    this.#held.drop();
    clearTimeout(this.#timer);
    if (this.#answer === undefined) return;
    this.#answer = undefined;
    this.#holding.count -= 1;
  }

  async #look(): Promise<void> {
    this.#state = "looked_at";
    clearTimeout(this.#timer);
    const tag = await tagOf(this.#carrying, this.#answer?.headers ?? {}, this.#held.payload);
    if (this.#isWhole)
      this.#pass(tag); // `over` tells what goes wrong: the flow has ended
    else this.#guarded(() => this.#pass(tag));
  }

  /** Sends the head and what was held, and steps aside. */
  #pass(tag: string | undefined): void {
    const [answer, state] = [this.#answer, this.#state];
    if (answer === undefined || state === "passed") return;
    const { status, headers, flow } = answer;
    this.#inner.head(status, tag === undefined ? headers : { ...headers, etag: tag }, flow);
    let goesOn = true;
    this.#held.hand((bytes, done, payload) => {
      goesOn = this.#inner.data(bytes, done, payload);
    });
    this.stop();
    if (this.#isWhole) this.#inner.end();
    else if (goesOn && state === "looked_at") flow.resume();
  }

  #guarded(step: () => void): void {
    const flow = this.#answer?.flow;
    try {
      step();
    } catch (error) {
      flow?.fail(toGatewayError(error));
    }
  }
}

/** Of one gateway. The listener is told when its answer is over. */
export const createTagged = (): ((carrying: Carrying, inner: Listener) => Tagged) => {
  const holding = { count: 0 };
  return (carrying, inner) => new Tagging(carrying, inner, holding);
};
