/**
 * One stream of a task's output as files `<task>.<type>.<n>`, rotated by size, oldest deleted. Bytes are never lost at a
 * rotation; a line is kept whole where it can be. The names lie where the task itself writes: whatever it planted
 * there (a link, a pipe, a directory) is not written through.
 */
import { constants } from "node:fs";
import { type FileHandle, open, readdir, rm } from "node:fs/promises";
import path from "node:path";
import type { Log } from "../../ports.ts";

export interface LogFilesOptions {
  readonly directory: string;
  readonly task: string;
  readonly type: "stdout" | "stderr";
  readonly maxFiles: number;
  readonly maxFileBytes: number;
}

export interface LogFiles {
  /** Resolves when the bytes are with the operating system: await it before the next. Never throws. */
  write(bytes: Buffer): Promise<void>;
  close(): Promise<void>;
}

// O_NONBLOCK: a planted pipe must not hold the agent's threads; it means nothing for a plain file.
const openFlags =
  constants.O_WRONLY |
  constants.O_CREAT |
  constants.O_APPEND |
  constants.O_NOFOLLOW |
  constants.O_NONBLOCK;

const maxPlanted = 16;
const newline = 0x0a;

const indexesOf = async (directory: string, prefix: string): Promise<readonly number[]> => {
  const names = await readdir(directory);
  return names
    .filter((name) => name.startsWith(prefix) && /^\d{1,9}$/.test(name.slice(prefix.length)))
    .map((name) => Number(name.slice(prefix.length)))
    .sort((a, b) => a - b);
};

/** The open file when it is a plain one; a pipe or device that was planted under the name is removed. */
const openPlain = async (file: string): Promise<FileHandle | undefined> => {
  let handle: FileHandle;
  try {
    handle = await open(file, openFlags, 0o644);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code !== "ELOOP" && code !== "ENXIO" && code !== "EISDIR") throw error;
    if (code !== "EISDIR") await rm(file, { force: true });
    return undefined;
  }
  if ((await handle.stat()).isFile()) return handle;
  await handle.close();
  await rm(file, { force: true });
  return undefined;
};

class RotatingFiles implements LogFiles {
  readonly #options: LogFilesOptions;
  readonly #log: Log;
  readonly #prefix: string;
  #handle: FileHandle | undefined;
  #index = 0;
  #size = 0;
  #ailing = false;

  constructor(log: Log, options: LogFilesOptions) {
    this.#log = log;
    this.#options = options;
    this.#prefix = `${options.task}.${options.type}.`;
  }

  /** Goes on with the newest file there is. */
  async begin(): Promise<void> {
    const indexes = await indexesOf(this.#options.directory, this.#prefix);
    this.#index = indexes.at(-1) ?? 0;
    await this.#open();
  }

  async write(bytes: Buffer): Promise<void> {
    try {
      let rest = bytes;
      while (rest.length > 0) rest = rest.subarray(await this.#writeSome(rest));
      this.#ailing = false;
    } catch (error) {
      // A full or vanished disk must not stop the task: its output is dropped, said once.
      if (!this.#ailing)
        this.#log.warn({ err: error, file: this.#prefix }, "log output is being dropped");
      this.#ailing = true;
      await this.close();
    }
  }

  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    try {
      await handle?.close();
    } catch (error) {
      this.#log.warn({ err: error, file: this.#prefix }, "log file did not close");
    }
  }

  /** Writes as much as fits into the current file; returns how much that was. */
  async #writeSome(bytes: Buffer): Promise<number> {
    if (this.#handle === undefined) await this.#open();
    const room = this.#options.maxFileBytes - this.#size;
    if (bytes.length > room) {
      const lineEnd = room > 0 ? bytes.lastIndexOf(newline, room - 1) + 1 : 0;
      const fitting = lineEnd > 0 ? lineEnd : Math.max(room, 0);
      await this.#append(bytes.subarray(0, fitting));
      await this.#rotate();
      return fitting;
    }
    await this.#append(bytes);
    return bytes.length;
  }

  async #append(bytes: Buffer): Promise<void> {
    let at = 0;
    while (at < bytes.length) {
      const written = await this.#handle?.write(bytes, at, bytes.length - at);
      if (written === undefined) throw new Error("log file is closed");
      at += written.bytesWritten;
      this.#size += written.bytesWritten;
    }
  }

  async #rotate(): Promise<void> {
    await this.close();
    this.#index++;
    await this.#open();
  }

  async #open(): Promise<void> {
    for (let attempt = 0; attempt < maxPlanted; attempt++) {
      const file = path.join(this.#options.directory, `${this.#prefix}${this.#index}`);
      const handle = (await openPlain(file)) ?? (await openPlain(file));
      if (handle !== undefined) {
        this.#handle = handle;
        this.#size = (await handle.stat()).size;
        await this.#removeOld();
        return;
      }
      this.#index++; // a directory sits on the name
    }
    throw new Error(`no log file can be opened for ${this.#prefix}`);
  }

  async #removeOld(): Promise<void> {
    const oldest = this.#index - this.#options.maxFiles;
    for (const index of await indexesOf(this.#options.directory, this.#prefix))
      if (index <= oldest)
        await rm(path.join(this.#options.directory, `${this.#prefix}${index}`), {
          force: true,
        }).catch((error: unknown) =>
          this.#log.warn({ err: error, file: this.#prefix }, "old log file stays"),
        );
  }
}

/** Opens the newest file, or makes the first. Throws when the directory cannot be written. */
export const openLogFiles = async (log: Log, options: LogFilesOptions): Promise<LogFiles> => {
  const files = new RotatingFiles(log, options);
  await files.begin();
  return files;
};
