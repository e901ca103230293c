/** Keeps a socket's messages until somebody listens: from the first on it is paused, and nothing is lost. */
import type { RawData, WebSocket } from "ws";
import { toBuffer } from "../lib/web-socket.ts";
import type { HeldMessage } from "../ports.ts";

export interface HeldMessages {
  /** The next message; rejects with the signal's reason when that comes first. The socket is read on then. */
  next(signal: AbortSignal): Promise<Buffer>;
  /** Hands over what is held, and keeps nothing any more. */
  take(): readonly HeldMessage[];
}

export const holdMessages = (socket: WebSocket): HeldMessages => {
  const held: HeldMessage[] = [];
  let wake: (() => void) | undefined;
  const keep = (data: RawData, isBinary: boolean): void => {
    held.push({ data: toBuffer(data), isBinary });
    socket.pause(); // frames of the same chunk still come, and are kept
    wake?.();
  };
  socket.on("message", keep);
  return {
    async next(signal) {
      try {
        if (held.length === 0)
          await new Promise<void>((resolve) => {
            wake = resolve;
            signal.addEventListener("abort", () => resolve(), { once: true });
          });
        signal.throwIfAborted();
        return held.shift()?.data ?? Buffer.alloc(0);
      } finally {
        if (socket.isPaused) socket.resume();
      }
    },
    take() {
      socket.off("message", keep);
      socket.resume();
      return held.splice(0);
    },
  };
};
