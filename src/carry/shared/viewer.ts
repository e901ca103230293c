/** One viewer of a followed log: where it stands, and the log's bytes as it wants them, plain or in frames. */
import { GatewayError } from "../../errors.ts";
import { canonicalUuid } from "../../lib/uuid.ts";
import { heartbeat, toFrame } from "../../logs/frame.ts";
import { type Beside, type Marks, marksFor } from "../../logs/marks.ts";
import { begunAnew } from "../../logs/places.ts";
import { bindingOf, toToken } from "../../logs/resume-token.ts";
import { type LogsParameters, logsParameters } from "../../parameters.ts";
import type { Carrying } from "../carriage.ts";
import { chunkOf, lastChunk, takeChunks, textChunk } from "../chunks.ts";
import { tooSlow } from "../cut.ts";
import { type AgentRequest, agentRequest } from "../request.ts";
import {
  type Chunk,
  type Entry,
  isSameFile,
  type LogFile,
  type Place,
  type Stand,
} from "./ring.ts";

/** What brings a viewer its bytes now: its own follow, or a shared one. */
export interface Source {
  /** The viewer can take more. */
  resume(): void;
  fail(error: GatewayError): void;
}

const none: Beside = { before: "", behind: "" };
const beatChunk: Chunk = { bytes: textChunk(heartbeat), length: heartbeat.length };

export class Viewer {
  readonly carrying: Carrying;
  readonly parameters: LogsParameters;
  readonly allocationId: string;
  #marks: Marks | undefined;
  #isChunked = false;
  /** The head was sent. */
  isBegun = false;
  #of: LogFile | undefined;
  #offset = 0;
  #size = 0;
  /** It has more to read than its connection takes. */
  isBlocked = false;
  source: Source | undefined;

  constructor(carrying: Carrying) {
    const { exchange } = carrying;
    this.carrying = carrying;
    this.parameters = logsParameters(exchange.raw);
    this.allocationId = canonicalUuid(exchange.key);
  }

  /** Listens to its connection; once, when the head was sent. */
  begin(): void {
    const { carrying } = this;
    const { response } = carrying;
    this.isBegun = true;
    this.#isChunked = takeChunks(response);
    this.#marks = marksFor({ id: this.allocationId }, this.parameters);
    response.on("drain", () => {
      this.isBlocked = false;
      carrying.tally.callerStalledAtMs = undefined;
      this.source?.resume();
    });
    response.on("timeout", () => {
      if (this.isBlocked) this.source?.fail(tooSlow(carrying.limits.followStallMs));
    });
  }

  /** Undefined before the first file is entered. */
  get stand(): Stand | undefined {
    return this.#of && { of: this.#of, offset: this.#offset, size: this.#size };
  }

  /** Takes an entry but for its first `skip` bytes. Throws when this viewer cannot go on. */
  take(entry: Entry, skip: number): void {
    this.#enter(entry);
    this.#offset = entry.end;
    this.#size = entry.size;
    const { chunks } = entry;
    const bytes = skip === 0 ? entry.bytes : entry.bytes.subarray(skip);
    if (bytes.length === 0 && (this.parameters.plain || entry.event === undefined)) return;
    const kind = this.parameters.plain ? "plain" : "framed";
    const isShared = skip === 0 && this.#isChunked;
    const chunk = (isShared ? chunks[kind] : undefined) ?? this.#chunkOf(entry, bytes);
    if (isShared) chunks[kind] ??= chunk;
    const { before, behind } = this.#marks?.beside({ bytes, end: entry.end }) ?? none;
    if (before !== "" && kind === "framed") this.#send(this.#text(before));
    this.#send(chunk);
    if (behind !== "" && kind === "framed") this.#send(this.#text(behind));
  }

  beat(): void {
    if (this.isBlocked || this.parameters.plain) return;
    this.#send(this.#isChunked ? beatChunk : this.#text(heartbeat));
  }

  /** In order. */
  end(): void {
    this.carrying.response.end(this.#isChunked ? lastChunk : undefined);
  }

  /** The request that goes on from a place, with this viewer's right. */
  requestAt({ of, offset }: Place): AgentRequest {
    const { exchange, reach } = this.carrying;
    const binding = bindingOf(this.allocationId, this.parameters);
    const resume = toToken(binding, { index: of.index, inode: of.inode, offset });
    const parameters = { ...this.parameters, resume, skip: undefined, await: undefined };
    return agentRequest({ ...exchange, parameters }, reach.node);
  }

  #enter({ of, missing, end, event }: Entry): void {
    if (event !== undefined && this.#marks && this.parameters.plain) throw begunAnew(of.file);
    const before = this.#of;
    if (of === before) return;
    this.#of = of;
    if (before !== undefined && isSameFile(before, of)) {
      of.isUnsure ||= before.isUnsure;
      return;
    }
    if (missing !== undefined && this.#marks && this.parameters.plain)
      throw new GatewayError("gone", {
        text: `the log is lost: ${missing} were rotated away before byte ${end} of ${of.file}`,
      });
    this.#marks?.enter(of, missing);
  }

  #chunkOf({ of, end, event }: Entry, bytes: Buffer): Chunk {
    return this.parameters.plain
      ? this.#plain(bytes)
      : this.#text(toFrame({ file: of.file, bytes, end, event }));
  }

  #plain(bytes: Buffer): Chunk {
    return { bytes: this.#isChunked ? chunkOf(bytes) : bytes, length: bytes.length };
  }

  #text(text: string): Chunk {
    const length = Buffer.byteLength(text);
    return { bytes: this.#isChunked ? textChunk(text) : Buffer.from(text), length };
  }

  #send({ bytes, length }: Chunk): void {
    const { response, tally, limits } = this.carrying;
    tally.bytesOut += length;
    this.isBlocked = !response.write(bytes);
    if (!this.isBlocked) return;
    tally.callerStalledAtMs ??= performance.now();
    response.setTimeout(limits.followStallMs);
  }
}
