/**
 * Logs that go on, from agents that know nothing of it. Nomad's count an offset over the files that are there, which a rotation
 * shifts: the place is looked up in a listing, and stands when a second one, made when the answer has begun, shows the same files
 * before it. Not a byte goes to the caller before that. From then on every byte is counted.
 */
import { GatewayError, toGatewayError } from "../errors.ts";
import { type LogFile, type LogStart, startIn } from "../logs/log-files.ts";
import { Marks } from "../logs/marks.ts";
import { beginning, goOn, placeOf } from "../logs/places.ts";
import { type LogsParameters, logsParameters } from "../parameters.ts";
import type { Headers } from "../upstream/head.ts";
import { ask, type Flow, type Listener } from "./ask.ts";
import type { Carrying } from "./carriage.ts";
import { listLog } from "./log-listing.ts";
import { LogReader } from "./log-reader.ts";
import { agentRequest, idOf } from "./request.ts";
import { copy, handedOver, orCut, type StreamTerms } from "./stream.ts";

const firstRefusal = 400;
const maxTries = 5;

/** What one answer is made from. */
interface Wanted {
  readonly parameters: LogsParameters;
  readonly marks: Marks;
}

/** Undefined when the log has no files. */
const startOf = (
  files: readonly LogFile[],
  { parameters, marks }: Wanted,
): LogStart | undefined => {
  if (files.length === 0) return undefined; // the agent says why
  const { resumed } = marks;
  return resumed === undefined
    ? startIn(files, parameters.origin, Number(parameters.offset))
    : goOn(files, parameters, resumed);
};

/** Over all files, as Nomad counts. */
const distanceTo = (files: readonly LogFile[], { file, offset }: LogStart): number =>
  files.reduce((sum, { index, size }) => (index < file.index ? sum + size : sum), offset);

/** Whether the same distance leads to the same place. What lies before it is complete: it changes only by being removed. */
const isSamePlace = (
  files: readonly LogFile[],
  now: readonly LogFile[],
  start: LogStart | undefined,
): boolean => {
  if (start === undefined) return now.length === 0;
  const upTo = (all: readonly LogFile[]): readonly number[] =>
    all.flatMap(({ index, size }) => (index < start.file.index ? [index, size] : []));
  return (
    now.some(({ index }) => index === start.file.index) && String(upTo(files)) === String(upTo(now))
  );
};

/** One try at an answer. */
class Try {
  readonly #carrying: Carrying;
  readonly #wanted: Wanted;
  readonly #files: readonly LogFile[];
  readonly #inner: Listener;
  readonly #start: LogStart | undefined;
  #reader: LogReader | undefined;
  #state: "asked" | "refused" | "checked" | "open" | "over" = "asked";
  #held: Buffer[] = [];
  #isWhole = false;
  #flow: Flow | undefined;
  #checking: Promise<void> = Promise.resolve();
  #failure: GatewayError | undefined;
  /** The files as they are now, when the place was not to be found among the old ones. */
  shifted: readonly LogFile[] | undefined;

  constructor(carrying: Carrying, terms: StreamTerms, wanted: Wanted, files: readonly LogFile[]) {
    this.#carrying = carrying;
    this.#wanted = wanted;
    this.#files = files;
    this.#inner = copy(carrying, terms);
    this.#start = startOf(files, wanted);
  }

  /** Resolves when the answer is over, or its place has shifted. */
  async run(terms: StreamTerms): Promise<void> {
    const { exchange, reach } = this.#carrying;
    const { task, type, follow } = this.#wanted.parameters;
    const offset = this.#start ? distanceTo(this.#files, this.#start) : 0;
    // framed even for a plain reader: frames tell of which file they are
    const parameters = { task, follow, plain: false, type, offset, origin: "start" };
    const request = agentRequest({ ...exchange, parameters }, reach.node);
    try {
      await ask(request, { reach, signal: exchange.signal, ...terms }, this);
      await this.#checking;
    } finally {
      this.#state = "over";
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  head(status: number, headers: Headers, flow: Flow): "collects" | "downloads" | "follows" {
    if (status >= firstRefusal) {
      this.#state = "refused";
      return this.#inner.head(status, headers, flow);
    }
    this.#state = "checked";
    this.#flow = flow;
    this.#checking = this.#check(status, headers, flow);
    return "follows";
  }

  data(chunk: Buffer, done: (() => void) | undefined, payload: number): boolean {
    if (this.#state === "refused") return this.#inner.data(chunk, done, payload);
    const own = done === undefined ? chunk : Buffer.from(chunk);
    done?.();
    if (this.#state === "open") return this.#passOrStop(own);
    this.#held.push(own);
    return false;
  }

  end(): void {
    this.#isWhole = true;
    if (this.#state === "refused") this.#inner.end();
    else if (this.#state === "open") this.#end();
  }

  async #check(status: number, headers: Headers, flow: Flow): Promise<void> {
    try {
      const now = await listLog(this.#carrying, this.#wanted.parameters);
      if (this.#state !== "checked") return;
      if (isSamePlace(this.#files, now, this.#start)) this.#open(status, headers, flow, now);
      else {
        this.shifted = now;
        flow.stop();
      }
    } catch (error) {
      this.#failure = toGatewayError(error, this.#carrying.exchange.signal);
      flow.stop();
    }
  }

  #open(status: number, headers: Headers, flow: Flow, files: readonly LogFile[]): void {
    const { parameters, marks } = this.#wanted;
    const start = this.#start ?? { file: { name: "", index: 0, size: 0 }, offset: 0 };
    this.#reader = new LogReader(this.#carrying.reach.node.name, this.#wanted, start, files);
    this.#state = "open";
    const token = marks.headAt(this.#start ? { ...placeOf(this.#start), inode: "" } : beginning);
    const { "content-length": _framed, ...answered } = headers; // other bytes than the agent's
    const type = parameters.plain ? { "content-type": "text/plain" } : {};
    this.#inner.head(
      status,
      { ...answered, ...type, "x-serai-resume": token["X-Serai-Resume"] },
      flow,
    );
    if (this.#carrying.exchange.method === "HEAD") return; // all is said
    let goesOn = true;
    for (const chunk of this.#held.splice(0)) goesOn = this.#pass(chunk);
    if (this.#isWhole) this.#end();
    else if (goesOn) flow.resume();
  }

  #pass(chunk: Buffer): boolean {
    let goesOn = true;
    for (const piece of this.#reader?.read(chunk) ?? [])
      goesOn = this.#inner.data(piece, undefined, piece.length);
    return goesOn;
  }

  /** What is lost is no fault of the agent's. */
  #passOrStop(chunk: Buffer): boolean {
    try {
      return this.#pass(chunk);
    } catch (error) {
      if (!(error instanceof GatewayError) || error.code !== "gone") throw error;
      this.#failure = error;
      this.#flow?.stop();
      return true;
    }
  }

  #end(): void {
    this.#reader?.end();
    this.#inner.end();
  }
}

const refuseUnknown = ({ until, await: awaited }: LogsParameters, node: string): void => {
  if (until === undefined && awaited === undefined) return;
  throw new GatewayError("bad_request", {
    text: `until and await are not for the agent of node ${node}, which is Nomad's own and does not tell when a task starts and ends; leave them out`,
  });
};

/** A log of an agent of Nomad's, for a caller that asks for tokens or brings one. */
export const resumed = (carrying: Carrying, terms: StreamTerms): Promise<void> =>
  orCut(carrying, async () => {
    const { exchange, reach } = carrying;
    const parameters = logsParameters(exchange.raw);
    refuseUnknown(parameters, reach.node.name);
    const wanted = { parameters, marks: new Marks({ id: idOf(exchange.key) }, parameters) };
    let files: readonly LogFile[] | undefined = await listLog(carrying, parameters);
    for (let tries = 0; files !== undefined; tries++) {
      if (tries === maxTries)
        throw new GatewayError("upstream_broke", {
          node: reach.node.name,
          reason: "its log is rotated faster than a place in it can be found",
        });
      const one: Try = new Try(carrying, terms, wanted, files);
      await one.run(terms);
      files = one.shifted;
    }
    await handedOver(carrying, terms);
  });
