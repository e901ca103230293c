/** The last lines before the process ends at once: what nobody caught is logged and counted, and what waits is written. */
import type { Log } from "../ports.ts";

export interface GuardNeeds {
  /** `flush` writes what waits, synchronously. */
  readonly log: Log & { flush(): void };
  readonly exit: (code: number) => void;
  readonly count?: (kind: "exception" | "rejection") => void;
}

/** Nobody reads it, or there is no room for it: nothing that a process ends for. */
const isUnheard = (error: Error): boolean => "code" in error && unheard.has(String(error.code));

const unheard: ReadonlySet<string> = new Set([
  "EPIPE", "ECONNRESET", "EIO", "ERR_STREAM_DESTROYED", "ENOSPC", "EDQUOT", "EFBIG", "EAGAIN",
]); // biome-ignore format: a list

/** Installs the listeners; the answer takes them away again. */
export const createProcessGuards = ({ log, exit, count }: GuardNeeds): (() => void) => {
  const end = (kind: "exception" | "rejection", error: unknown): void => {
    try {
      count?.(kind);
      log.error(
        { kind, err: error instanceof Error ? error : new Error(String(error)) },
        "uncaught error, the process ends",
      );
    } finally {
      exit(1);
    }
  };
  const exception = (error: unknown): void => end("exception", error);
  const rejection = (reason: unknown): void => end("rejection", reason);
  // A reader of stdout that left (`serai dev | head`), or a full disk below it, must not end the gateway.
  const broken = (error: Error): void => {
    if (!isUnheard(error)) end("exception", error);
  };
  process.on("uncaughtException", exception);
  process.on("unhandledRejection", rejection);
  process.on("exit", log.flush);
  process.stdout.on("error", broken);
  process.stderr.on("error", broken);
  return () => {
    process.off("uncaughtException", exception);
    process.off("unhandledRejection", rejection);
    process.off("exit", log.flush);
    process.stdout.off("error", broken);
    process.stderr.off("error", broken);
  };
};
