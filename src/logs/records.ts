/**
 * A followed log as serai's agents tell it to a gateway that asks for records: its bytes as they are, each piece with the
 * exact place it has in the log, so that the gateway can show them plain or in frames, and to many. A record is a line of
 * JSON; one with `bytes` has so many behind it. Pure.
 */
import type { FileEvent, Piece } from "./frame.ts";
import { maxFrameBytes } from "./marks.ts";

/** In a request: what is wanted; in an answer of either form: records are what comes. */
export const formHeader = "X-Serai-Form";
export const recordsForm = "records";
/** Only where the answer would begin: its first record, and no more. */
export const placeForm = "place";

/** A file of the log, and where in it what comes next is. */
export interface Entered {
  /** As frames show it. */
  readonly file: string;
  readonly index: number;
  readonly inode: string;
  readonly offset: number;
  /** What the file has by now. */
  readonly size: number;
  /** The files that should have come before it and are gone. */
  readonly missing: string | undefined;
}

export interface Told extends Omit<Piece, "file"> {
  /** What the file had when these bytes were read. */
  readonly size: number;
}

export const beatRecord = "{}\n";

export const enteredRecord = (entered: Entered): string => `${JSON.stringify(entered)}\n`;

/** A copy of the piece's bytes. */
export const toldRecord = ({ bytes, end, event, size }: Told): Buffer => {
  const line = `${JSON.stringify({ bytes: bytes.length, end, size, event })}\n`;
  return Buffer.concat([Buffer.from(line, "latin1"), bytes]);
};

/** What is no record. */
export class InvalidRecord extends Error {
  readonly code = "ERR_INVALID_RECORD";
}

export interface RecordListener {
  entered(entered: Entered): void;
  told(told: Told): void;
  /** The agent lives. */
  beat(): void;
}

type Line = Readonly<Record<string, unknown>>;
const isLine = (value: unknown): value is Line =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** A file's name is 255 bytes at most, six characters each when they are escaped. */
const maxLineBytes = 4_096;
const maxListBytes = 512;
const newline = 10;
const events: ReadonlySet<unknown> = new Set<FileEvent>(["file deleted", "file truncated"]);
const isEvent = (value: unknown): value is FileEvent => events.has(value);

const counted = (record: Line, name: string): number => {
  const value = record[name];
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0)
    throw new InvalidRecord(`a record without a proper ${name}`);
  return value;
};

const toEntered = (record: Line, file: string): Entered => {
  const { index, inode, missing } = record;
  if (typeof index !== "number" || !Number.isSafeInteger(index))
    throw new InvalidRecord("a record without a proper index");
  if (typeof inode !== "string" || !/^\d{1,20}$/.test(inode))
    throw new InvalidRecord("a record without a proper inode");
  return {
    file,
    index,
    inode,
    offset: counted(record, "offset"),
    size: counted(record, "size"),
    missing: typeof missing === "string" ? missing.slice(0, maxListBytes) : undefined,
  };
};

/** Without big integers, which cost more than all else here: a count that is none of the safe ones is refused. */
const parseLine = (line: string): Line => {
  try {
    const record: unknown = JSON.parse(line);
    if (isLine(record)) return record;
  } catch {
    // said below
  }
  throw new InvalidRecord("a line that is no record");
};

const none = Buffer.alloc(0);

/** Takes a body apart however it was cut, and tells whole records. */
export class RecordReader {
  readonly #listener: RecordListener;
  #rest: Buffer[] = [];
  #restBytes = 0;
  /** A record whose bytes are still to come. */
  #open: Line | undefined;
  #isStopped = false;

  constructor(listener: RecordListener) {
    this.#listener = listener;
  }

  /** Nothing more is told, not even of the chunk that is being read. */
  stop(): void {
    this.#isStopped = true;
    this.#rest = [];
  }

  /** False while a record is not whole: a body that ends there is cut. */
  get isBetween(): boolean {
    return this.#restBytes === 0 && this.#open === undefined;
  }

  /** The chunk is the reader's own. Throws InvalidRecord, and what the listener throws. */
  read(chunk: Buffer): void {
    let bytes = chunk;
    while (!this.#isStopped) {
      const length = this.#lengthIn(bytes);
      if (length < 0 || this.#restBytes + bytes.length < length) {
        this.#keep(bytes);
        return;
      }
      const taken = length - this.#restBytes;
      const whole = this.#joined(bytes.subarray(0, taken));
      bytes = bytes.subarray(taken);
      this.#take(whole);
    }
  }

  /** Bytes that what is read now has, what is kept included; -1: its end has not come. */
  #lengthIn(bytes: Buffer): number {
    if (this.#open !== undefined) return counted(this.#open, "bytes");
    const at = bytes.indexOf(newline);
    if (this.#restBytes + (at < 0 ? bytes.length : at) > maxLineBytes)
      throw new InvalidRecord("a line that is too long");
    return at < 0 ? -1 : this.#restBytes + at + 1;
  }

  #keep(bytes: Buffer): void {
    if (bytes.length === 0) return;
    this.#rest.push(bytes);
    this.#restBytes += bytes.length;
  }

  #joined(last: Buffer): Buffer {
    if (this.#restBytes === 0) return last;
    const whole = Buffer.concat([...this.#rest, last]);
    this.#rest = [];
    this.#restBytes = 0;
    return whole;
  }

  #take(whole: Buffer): void {
    const open = this.#open;
    if (open !== undefined) {
      this.#open = undefined;
      this.#tell(open, whole);
      return;
    }
    const record = parseLine(whole.toString("utf8", 0, whole.length - 1));
    const { file, bytes } = record;
    if (typeof file === "string") this.#listener.entered(toEntered(record, file));
    else if (bytes === undefined) this.#listener.beat();
    else if (counted(record, "bytes") > maxFrameBytes)
      throw new InvalidRecord("a piece that is too long");
    else if (bytes === 0) this.#tell(record, none);
    else this.#open = record;
  }

  #tell(record: Line, bytes: Buffer): void {
    const { event } = record;
    const [end, size] = [counted(record, "end"), counted(record, "size")];
    if (end < bytes.length) throw new InvalidRecord("a piece longer than its file");
    this.#listener.told({ bytes, end, size, event: isEvent(event) ? event : undefined });
  }
}
