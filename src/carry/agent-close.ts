/** What an agent's close of an exec tells the caller, and what it tells the log and the audit. Pure. */
import { toClose } from "../answer.ts";
import { GatewayError } from "../errors.ts";
import { refusesToken, unknownAllocation } from "./collect.ts";

/** How an exec ends for its caller. */
export interface Close {
  /** undefined: a close frame without a code. */
  readonly code: number | undefined;
  readonly reason: string;
}

export const normal: Close = { code: 1000, reason: "" };
export const unknownExit = "exit status unknown";
const noStatus = 1005;
/** A connection that ended without a close frame. */
export const abnormal = 1006;

const unsendable: ReadonlySet<number> = new Set([1004, noStatus, abnormal, 1015]);

/** The agent's close as the caller gets it. It came without an exit frame: nobody is to take a normal one for exit code 0. */
export const passedOn = (code: number, reason: string): Close => {
  if (refusesToken(reason)) return toClose(new GatewayError("permission_denied"));
  if (code === normal.code || code === noStatus)
    return { code: normal.code, reason: reason || unknownExit };
  return unsendable.has(code) ? { code: undefined, reason: "" } : { code, reason };
};

/** What an agent's close says of the exec: nothing was wrong, or it was refused at the node. For log and audit. */
export const meaningOf = (code: number, reason: string, node: string): GatewayError | undefined => {
  if (refusesToken(reason)) return new GatewayError("permission_denied");
  switch (code) {
    case normal.code:
    case noStatus:
      return undefined;
    case 1008:
      return (
        unknownAllocation(reason, node) ?? new GatewayError("invalid_request", { text: reason })
      );
    case 1011:
      return new GatewayError("failed", { text: reason });
    default:
      return new GatewayError("upstream_broke", { node, reason: `it closed with ${code}` });
  }
};
