/** Where a reader of a log can go on later: the token in the head, and those among the frames. */
import type { LogsParameters } from "../../parameters.ts";
import type { FilesOf } from "./content.ts";
import { type Beside, maxFrameBytes, type Piece } from "./frames.ts";
import { bindingOf, fromToken, type LogPlace, toToken } from "./resume-token.ts";

/** Among full frames, which come as fast as they are read. */
const periodMs = 1_000;

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
  constructor({ id }: Pick<FilesOf, "id">, parameters: LogsParameters) {
    const { resume } = parameters;
    this.#binding = bindingOf(id, parameters);
    this.resumed =
      resume === undefined || resume === "true" ? undefined : fromToken(this.#binding, resume);
  }

  /** The file that what comes next is of. `missing`: what should have come before it. */
  enter(file: LogFileId, missing?: string): void {
    this.#file = file;
    this.#isNew = true;
    this.#missing = missing;
  }

  headAt(place: LogPlace): { readonly "X-Serai-Resume": string } {
    return { "X-Serai-Resume": toToken(this.#binding, place) };
  }

  /**
   * Behind a piece its end as a token: when it is a file's first, when the log's end was reached, and each second. Before
   * it what was lost.
   */
  readonly beside = ({ bytes, end }: Piece): Beside => {
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
export const marksFor = (
  allocation: Pick<FilesOf, "id">,
  parameters: LogsParameters,
): Marks | undefined => {
  const { resume, until, await: awaited } = parameters;
  return resume === undefined && until === undefined && awaited === undefined
    ? undefined
    : new Marks(allocation, parameters);
};
