/** Where a reader of a log can go on later: the token in the head, and those among the frames. */
import type { LogsParameters } from "../parameters.ts";
import { bindingOf, fromToken, type LogPlace, toToken } from "./resume-token.ts";

/** Of one frame's data. */
export const maxFrameBytes = 65_536;

/** Among full frames, which come as fast as they are read. */
const periodMs = 1_000;

/** Frames of ours on either side of one of Nomad's; "" for none. */
export interface Beside {
  readonly before: string;
  readonly behind: string;
}

/** What was read of a file. */
export interface Read {
  readonly bytes: Buffer;
  /** The file's offset behind these bytes. */
  readonly end: number;
}

interface LogOwner {
  /** Of the allocation. */
  readonly id: string;
}

type LogFileId = Pick<LogPlace, "index" | "inode">;

/** Of one answer, for a caller that asked for more than Nomad gives. */
export class Marks {
  readonly #binding: string;
  /** Where the caller wants to go on; undefined when it begins. */
  readonly resumed: LogPlace | undefined;
  #file: LogFileId = { index: 0, inode: "" };
  #isNew = true;
  #missing: string | undefined;
  #toldMs = 0;

  /** Throws `bad_request` for a token that is none, or another log's. */
  constructor({ id }: LogOwner, parameters: LogsParameters) {
    const { resume } = parameters;
    this.#binding = bindingOf(id, parameters);
    this.resumed =
      resume === undefined || resume === "true" ? undefined : fromToken(this.#binding, resume);
  }

  /** The file that what comes next is of. `missing`: what should have come before it. */
  enter(file: LogFileId, missing?: string): void {
    this.#file = file;
    this.#isNew = true;
    if (missing === undefined) return;
    // what is missing before a file that stayed empty was not told yet
    this.#missing = this.#missing === undefined ? missing : `${this.#missing}, ${missing}`;
  }

  headAt(place: LogPlace): { readonly "X-Serai-Resume": string } {
    return { "X-Serai-Resume": toToken(this.#binding, place) };
  }

  /**
   * Behind a piece its end as a token: when it is a file's first, when the log's end was reached, and each second. Before
   * it what was lost.
   */
  readonly beside = ({ bytes, end }: Read): Beside => {
    const nowMs = performance.now();
    const isDue = this.#isNew || bytes.length < maxFrameBytes || nowMs - this.#toldMs >= periodMs;
    const before = this.#missing === undefined ? "" : `{"Lost":${JSON.stringify(this.#missing)}}`;
    this.#missing = undefined;
    if (!isDue) return { before, behind: "" };
    this.#isNew = false;
    this.#toldMs = nowMs;
    const token = toToken(this.#binding, { ...this.#file, offset: end });
    return { before, behind: `{"Resume":"${token}"}` };
  };
}

/** Undefined for a caller that asks for nothing but what Nomad has. */
export const marksFor = (allocation: LogOwner, parameters: LogsParameters): Marks | undefined => {
  const { resume, until, await: awaited } = parameters;
  return resume === undefined && until === undefined && awaited === undefined
    ? undefined
    : new Marks(allocation, parameters);
};
