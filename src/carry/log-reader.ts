/** Counts what an agent's frames bring of a log, and makes of them what a caller gets: frames with tokens, or plain bytes. */
import { GatewayError } from "../errors.ts";
import { type LogFile, type LogStart, logIndex } from "../logs/log-files.ts";
import type { Marks } from "../logs/marks.ts";
import { begunAnew, logsDirectory, lost } from "../logs/places.ts";
import type { LogsParameters } from "../parameters.ts";
import { type Frame, Frames } from "./frames.ts";

const prefix = `${logsDirectory}/`;
const truncated = "file truncated";

interface Data {
  readonly bytes: Buffer;
  readonly index: number;
  readonly offset: number;
  readonly isTruncated: boolean;
}

export class LogReader {
  readonly #node: string;
  readonly #parameters: LogsParameters;
  readonly #marks: Marks;
  readonly #frames: Frames;
  readonly #size: number;
  #index: number;
  #offset: number;
  /** `begun`: nothing has come. `entered`: something of this file has. */
  #state: "begun" | "left" | "entered" = "begun";

  /** `files` are those that there were when the answer began. */
  constructor(
    node: string,
    { parameters, marks }: { readonly parameters: LogsParameters; readonly marks: Marks },
    { file, offset }: LogStart,
    files: readonly LogFile[],
  ) {
    this.#node = node;
    this.#parameters = parameters;
    this.#marks = marks;
    this.#frames = new Frames(node);
    this.#index = file.index;
    this.#offset = offset;
    this.#size = files.find(({ index }) => index === file.index)?.size ?? 0;
  }

  /** What the caller gets for these bytes. Throws `gone` for a plain reader's gap or event, `upstream_invalid`. */
  *read(chunk: Buffer): Generator<Buffer, void> {
    for (const frame of this.#frames.cut(chunk)) {
      const data = this.#data(frame);
      if (data !== undefined) yield* this.#pass(frame, data);
      else if (!this.#parameters.plain) yield Buffer.from(frame.bytes);
    }
  }

  /** Throws when the answer ends inside a frame. */
  end(): void {
    if (!this.#frames.isClean) throw this.#invalid("it ended inside a frame");
  }

  #invalid(reason: string): GatewayError {
    return new GatewayError("upstream_invalid", { node: this.#node, reason });
  }

  /** Undefined for a frame without data: a heartbeat, or an event. */
  #data({ object }: Frame): Data | undefined {
    const { Data: data, File: file, FileEvent: event, Offset: offset = 0 } = object;
    const { plain, task, type } = this.#parameters;
    if (event !== undefined && plain) throw begunAnew(`${prefix}${task}.${type}.${this.#index}`);
    const isTruncated = event === truncated;
    if (data === undefined) {
      // told again behind full frames, with their offset
      if (isTruncated && offset === 0) this.#offset = 0;
      return undefined;
    }
    const isOfLog = typeof file === "string" && file.startsWith(prefix);
    const index = isOfLog ? logIndex(this.#parameters, file.slice(prefix.length)) : undefined;
    if (typeof data !== "string" || typeof offset !== "number" || index === undefined)
      throw this.#invalid("a frame is not of this log");
    return { bytes: Buffer.from(data, "base64"), index, offset, isTruncated };
  }

  *#pass(frame: Frame, { bytes, index, offset, isTruncated }: Data): Generator<Buffer, void> {
    if (index < this.#index) throw this.#invalid("its log goes backwards");
    if (index > this.#index || this.#state === "begun") this.#enter(index);
    if (isTruncated) this.#offset = 0;
    else if (this.#state === "left") this.#check(offset, bytes.length);
    this.#state = "entered";
    this.#offset += bytes.length;
    const { before, behind } = this.#marks.beside({ bytes, end: this.#offset });
    if (this.#parameters.plain) {
      yield bytes;
      return;
    }
    if (before !== "") yield Buffer.from(before);
    yield Buffer.from(frame.bytes);
    if (behind !== "") yield Buffer.from(behind);
  }

  /** A reader of frames is told what is missing, one of plain bytes is cut. */
  #enter(index: number): void {
    const first = { index: this.#index + 1, offset: 0 };
    const isCut = this.#state === "begun" && index > this.#index && this.#offset < this.#size;
    if (isCut) throw lost(this.#parameters, { index: this.#index, offset: this.#offset }, []);
    const isGap = index > first.index;
    if (isGap && this.#parameters.plain) throw lost(this.#parameters, first, []);
    const { task, type } = this.#parameters;
    const missing = `${prefix}${task}.${type}.${first.index} to ${index - 1}`;
    this.#marks.enter({ index, inode: "" }, isGap ? missing : undefined);
    if (index > this.#index) this.#offset = 0;
    this.#index = index;
    this.#state = "left";
  }

  /** The offset of a file's first frame lies behind its first read, which may be a part of what the frame holds. */
  #check(offset: number, length: number): void {
    if (offset - length <= this.#offset && this.#offset < offset) return;
    throw this.#invalid(`its log was to go on at ${this.#offset}, a frame ends at ${offset}`);
  }
}
