/** `<data directory>/state.json`: whole or not at all, 0600, checked when read; saves that come at once are one. */
import { mkdir, rename } from "node:fs/promises";
import path from "node:path";
import { parseJson, stringifyJson } from "../../lib/json.ts";
import { readIfThere, replaceFile } from "../../lib/whole-file.ts";
import type { Clock, Log } from "../../ports.ts";
import { type SavedState, savedState } from "./record.ts";

export interface StateFile {
  /** Writes the state soon; many calls become one write. */
  soon(): void;
  /** Resolves when the state as it is now lies on the disk; throws when it cannot. */
  save(): Promise<void>;
  /** Nothing is written afterwards but by `save`. */
  close(): void;
}

const soonMs = 50;
/** A disk that is full now may have room by then. */
const againMs = 10_000;

/** What an earlier agent left; undefined at the first start. A file that is not sound is moved aside. */
export const readState = async (
  needs: { readonly log: Log; readonly clock: Clock },
  dataDirectory: string,
): Promise<SavedState | undefined> => {
  await mkdir(dataDirectory, { recursive: true, mode: 0o700 });
  const file = path.join(dataDirectory, "state.json");
  const text = await readIfThere(file);
  if (text === undefined) return undefined;
  try {
    return savedState.parse(parseJson(text));
  } catch (error) {
    const aside = `${file}.corrupt-${needs.clock.now()}`;
    await rename(file, aside);
    needs.log.error({ err: error, file: aside }, "the state file is not sound and was moved aside");
    return undefined;
  }
};

class WrittenState implements StateFile {
  readonly #log: Log;
  readonly #file: string;
  readonly #current: () => SavedState;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(log: Log, dataDirectory: string, current: () => SavedState) {
    this.#log = log;
    this.#file = path.join(dataDirectory, "state.json");
    this.#current = current;
  }

  soon(): void {
    this.#saveAfter(soonMs);
  }

  save(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const write = () => replaceFile(this.#file, stringifyJson(this.#current()));
    const written = this.#writing.then(write, write);
    this.#writing = written.catch(() => this.#saveAfter(againMs)); // told to who asked; the next write goes ahead
    return written;
  }

  #saveAfter(delayMs: number): void {
    if (this.#closed || this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      this.save().catch((error: unknown) =>
        this.#log.error({ err: error, file: this.#file }, "the state cannot be saved"),
      );
    }, delayMs);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

export const createStateFile = (
  log: Log,
  dataDirectory: string,
  current: () => SavedState,
): StateFile => new WrittenState(log, dataDirectory, current);
