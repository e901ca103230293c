/** A command's process as a session sees it, with or without a terminal. */
import type { Readable } from "node:stream";
import type { OutputName } from "./frames.ts";

export interface ExecProcess {
  readonly pid: number;
  /** With a terminal there is stdout alone. Reading them drives the process; not reading holds it back. */
  readonly outputs: readonly { readonly name: OutputName; readonly stream: Readable }[];
  /** Resolves when the process took the bytes, or when it never will. */
  writeInput(data: Buffer): Promise<void>;
  /** End of input: the pipe is closed, a terminal gets its end-of-file character. */
  endInput(): void;
  resize(height: number, width: number): void;
  /** 128 + n after death by signal n. Never rejects. */
  readonly exited: Promise<number>;
  /** Lets go of pipes and terminal; the process may live on. */
  release(): void;
}

export interface Command {
  readonly program: string;
  readonly arguments: readonly string[];
  readonly directory: string;
  readonly env: Readonly<Record<string, string>>;
}
