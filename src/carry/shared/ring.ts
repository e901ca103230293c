/**
 * The most recent bytes of a followed log, in the pieces they came in, and where in them a viewer stands. Pieces are never
 * changed: whoever is still writing one out when it falls off the ring has it as it was.
 */
import type { FileEvent } from "../../logs/frame.ts";

/** One file of a log, as one follow of it knows it: another inode is another file. */
export interface LogFile {
  readonly file: string;
  readonly index: number;
  readonly inode: string;
  /** It was truncated or deleted under the follow's eyes: an offset in it says no more which bytes are meant. */
  isUnsure: boolean;
}

/** A piece of a body, as its connection wants it. */
export interface Chunk {
  readonly bytes: Buffer;
  /** Without what makes it a chunk. */
  readonly length: number;
}

/** A piece, or (without bytes and event) that a file is entered. */
export interface Entry {
  readonly of: LogFile;
  readonly bytes: Buffer;
  /** The file's offset behind it. */
  readonly end: number;
  /** What the file had when it was read. */
  readonly size: number;
  readonly event: FileEvent | undefined;
  /** Files that should have come before it. */
  readonly missing: string | undefined;
  /** As chunks of an answer, once somebody needed them: of its bytes, and of its frame. */
  readonly chunks: { plain?: Chunk; framed?: Chunk };
}

/** The next byte that somebody wants: of the entry with this number, so many bytes into it. */
export interface Cursor {
  nth: number;
  skip: number;
}

export interface Place {
  readonly of: LogFile;
  readonly offset: number;
}

/** Where somebody stands, and what the file had when he came there. */
export interface Stand extends Place {
  readonly size: number;
}

/** An entry of a few bytes takes about as much beside them. */
const entryBytes = 256;

export const isSameFile = (one: LogFile, other: LogFile): boolean =>
  one.index === other.index && one.inode === other.inode;

/** False when this entry shows that the stand's file is not the one that the follow has read. */
const isSound = ({ of, end }: Entry, stand: Stand): boolean =>
  !isSameFile(of, stand.of) || (!of.isUnsure && stand.size >= end);

/** How far into an entry a stand is, its end included; undefined when it is elsewhere. */
const skipIn = ({ of, bytes, end }: Entry, { of: stood, offset }: Stand): number | undefined => {
  const skip = offset - (end - bytes.length);
  return isSameFile(of, stood) && skip >= 0 && skip <= bytes.length ? skip : undefined;
};

export class Ring {
  readonly #maxBytes: number;
  readonly #entries: Entry[] = [];
  #weight = 0;
  /** The number of the oldest entry. */
  #first = 0;
  #head: Entry | undefined;
  /** The number of the last entry with an event; it may have fallen off. */
  #eventNth = -1;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** The number that the next entry will have. */
  get next(): number {
    return this.#first + this.#entries.length;
  }

  /** The newest entry: its end is where the follow stands. */
  get head(): Entry | undefined {
    return this.#head;
  }

  append(entry: Entry): void {
    if (entry.event !== undefined) {
      entry.of.isUnsure = true;
      this.#eventNth = this.next;
    }
    this.#head = entry;
    this.#entries.push(entry);
    this.#weight += entry.bytes.length + entryBytes;
    while (this.#weight > this.#maxBytes) {
      const oldest = this.#entries.shift();
      if (oldest === undefined) return;
      this.#first += 1;
      this.#weight -= oldest.bytes.length + entryBytes;
    }
  }

  /** Undefined when it is not there yet, or has fallen off. */
  at(nth: number): Entry | undefined {
    return this.#entries[nth - this.#first];
  }

  /** What is wanted there has fallen off. */
  hasLost({ nth }: Cursor): boolean {
    return nth < this.#first;
  }

  /** A file was truncated or deleted there or behind: an offset says no more which bytes are wanted. */
  isUnsureFrom({ nth }: Cursor): boolean {
    return nth <= this.#eventNth;
  }

  /**
   * The cursor of a stand, when the ring has all behind it: not in a file that either side is unsure of, nor when the file was
   * shorter than the follow has seen it (it is not the same content), nor in the older half, which falls off soon.
   */
  find(stand: Stand): Cursor | undefined {
    if (stand.of.isUnsure) return undefined;
    let behind = 0;
    for (let at = this.#entries.length - 1; behind <= this.#maxBytes / 2; at--) {
      const entry = this.#entries[at];
      if (entry === undefined || !isSound(entry, stand)) return undefined;
      const skip = skipIn(entry, stand);
      if (skip !== undefined)
        return skip < entry.bytes.length
          ? { nth: this.#first + at, skip }
          : { nth: this.#first + at + 1, skip: 0 };
      behind += entry.bytes.length + entryBytes;
    }
    return undefined;
  }
}
