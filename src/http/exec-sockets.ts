/** How both doors take the WebSockets of execs. */
import { WebSocket, WebSocketServer } from "ws";
import { toClose } from "../answer.ts";
import { GatewayError } from "../errors.ts";
import { farewell, maxFragments } from "../lib/web-socket.ts";

export interface ExecSocketsOptions {
  readonly maxMessageBytes: number;
  /** What the sender of a longer one reads that it is larger than. */
  readonly limit: string;
  /** Keeps a set of those that are open. */
  readonly clientTracking: boolean;
}

/** ws closes the socket of a message that is too long itself, and without a word. */
const tellingTooLong = (limit: string): typeof WebSocket => {
  const tooLong = toClose(new GatewayError("message_too_large", { limit }));
  return class extends WebSocket {
    override close(code?: number, reason?: string | Buffer): void {
      super.close(code, reason ?? (code === tooLong.code ? tooLong.reason : undefined));
    }
  };
};

const tooLongCodes: ReadonlySet<unknown> = new Set([
  "WS_ERR_UNSUPPORTED_MESSAGE_LENGTH",
  "WS_ERR_UNSUPPORTED_DATA_PAYLOAD_LENGTH",
]);

/** True when it was for a message that is too long that ws closed a socket. */
export const isTooLong = (error: Error & { readonly code?: unknown }): boolean =>
  tooLongCodes.has(error.code);

export const createExecSockets = ({
  maxMessageBytes,
  limit,
  clientTracking,
}: ExecSocketsOptions): WebSocketServer =>
  new WebSocketServer({
    ...farewell,
    WebSocket: tellingTooLong(limit),
    noServer: true,
    maxPayload: maxMessageBytes,
    maxFragments,
    perMessageDeflate: false,
    handleProtocols: () => false,
    clientTracking,
  });
