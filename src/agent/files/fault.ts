/** Why a path is not served, as a closed list, with Nomad's words and the statuses of its two families of routes. */
import { failed, GatewayError, invalidRequest, notFound } from "../../errors.ts";
import { goQuote } from "../../lib/go.ts";
import { strerror } from "../strerror.ts";

export type Reason =
  | { readonly kind: "escape" }
  | {
      readonly kind: "os";
      readonly operation: "stat" | "open";
      readonly host: string;
      readonly errno: string;
    }
  | { readonly kind: "closed"; readonly what: "secret" | "private"; readonly asked: string }
  | { readonly kind: "directory"; readonly asked: string }
  | { readonly kind: "irregular"; readonly asked: string }
  | { readonly kind: "seek"; readonly offset: bigint; readonly host: string };

/** Inside this folder only; the routes turn it into a refusal. */
export class PathFault extends Error {
  override readonly name = "PathFault";
  readonly reason: Reason;
  constructor(reason: Reason, options?: { readonly cause?: unknown }) {
    super(wordsOf(reason), options);
    this.reason = reason;
  }
}

export const errnoWords = (errno: string): string => strerror[errno] ?? "input/output error";

/** The system's code of a failed call; EIO for what is none. */
export const errnoCode = (error: unknown): string =>
  error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "EIO";

const exhausted: ReadonlySet<string> = new Set(["EMFILE", "ENFILE"]);

/** A call of the system that failed: the path's fault, or, out of descriptors, this agent's own. */
export const systemFault = (
  operation: "stat" | "open",
  host: string,
  cause: unknown,
): PathFault | GatewayError => {
  const errno = errnoCode(cause);
  return exhausted.has(errno)
    ? new GatewayError("overloaded", {}, { cause })
    : new PathFault({ kind: "os", operation, host, errno }, { cause });
};

const wordsOf = (reason: Reason): string => {
  switch (reason.kind) {
    case "escape":
      return "Path escapes the alloc directory";
    case "os":
      return `${reason.operation} ${reason.host}: ${errnoWords(reason.errno)}`;
    case "closed":
      return `Reading ${reason.what} file prohibited: ${reason.asked}`;
    case "directory":
      return `file ${goQuote(reason.asked)} is a directory`;
    case "irregular":
      return `file ${goQuote(reason.asked)} is not a regular file`;
    case "seek":
      return `can't seek to offset ${reason.offset}: seek ${reason.host}: invalid argument`;
  }
};

/** ls and stat: 404 when there is no such file, 500 for everything else. */
export const documentRefusal = (fault: PathFault): GatewayError =>
  fault.reason.kind === "os" && fault.reason.errno === "ENOENT"
    ? notFound(fault.message)
    : failed(fault.message);

const isOpenFault = ({ kind }: Reason): boolean => kind === "closed" || kind === "seek";

/** cat, readat, stream, logs: 400 for what Nomad's stat finds, 500 for what only opening finds. */
export const contentRefusal = (fault: PathFault): GatewayError =>
  isOpenFault(fault.reason) || (fault.reason.kind === "os" && fault.reason.operation === "open")
    ? failed(fault.message)
    : invalidRequest(fault.message);
