/**
 * Requests of one connection, one after the other as Nomad takes them. Node would begin all that a caller pipelines at once:
 * one connection could then hold any number of exchanges, and of its leaving Node tells the first of them alone.
 */
import type { RequestListener, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { UpgradeListener } from "./upgrade.ts";

/** Requests that may wait behind the one that is being answered; a caller that sends more is cut. */
const maxWaiting = 16;

interface Line {
  readonly answer: ServerResponse;
  readonly waiting: (() => void)[];
}

export interface Turns {
  readonly onRequest: RequestListener;
  readonly onUpgrade: UpgradeListener;
  /** The answer that a connection waits for. */
  answerOn(socket: Socket): ServerResponse | undefined;
}

export const inTurn = (onRequest: RequestListener, onUpgrade: UpgradeListener): Turns => {
  const lines = new WeakMap<Socket, Line>();

  const next = (socket: Socket, waiting: Line["waiting"]): void => {
    const begin = socket.writable ? waiting.shift() : undefined;
    if (begin === undefined) lines.delete(socket);
    else begin();
  };

  return {
    onRequest(request, response) {
      const { socket } = request;
      const line = lines.get(socket);
      const waiting = line?.waiting ?? [];
      const begin = (): void => {
        lines.set(socket, { answer: response, waiting });
        response.once("close", () => next(socket, waiting));
        onRequest(request, response);
      };
      if (line === undefined) begin();
      else if (waiting.length < maxWaiting) waiting.push(begin);
      else socket.destroy();
    },
    onUpgrade(request, socket, head) {
      // it cannot wait: node reads the connection no more, and tells the answer before it neither of room nor of the caller's end
      if (lines.has(request.socket)) socket.destroy();
      else onUpgrade(request, socket, head);
    },
    answerOn: (socket) => lines.get(socket)?.answer,
  };
};
