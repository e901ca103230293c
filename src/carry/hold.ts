/** A caller's messages before the agent's socket is open: bounded, in order, none lost. */
import type { RawData, WebSocket } from "ws";
import { bytesOf, messageCost } from "../lib/web-socket.ts";
import type { HeldMessage } from "../ports.ts";

export type Take = (data: RawData, isBinary: boolean) => void;

export interface Hold {
  /** Hands over what was held and passes on what comes. */
  release(take: Take): void;
  /** Forgets what was held; later messages are ignored. */
  drop(): void;
}

/** Listens from now on, after what came earlier. Above `maxBytes` the socket is paused until the release. */
export const createHold = (
  client: WebSocket,
  takeEarlier: () => readonly HeldMessage[],
  maxBytes: number,
): Hold => {
  let held: (readonly [RawData, boolean])[] = [];
  let bytes = 0;
  const keep: Take = (data, isBinary) => {
    held.push([data, isBinary]);
    bytes += bytesOf(data) + messageCost;
    if (bytes > maxBytes) client.pause();
  };
  let take = keep;
  client.on("error", () => undefined); // ws closes it with the code of its fault, and reads on: a reset would overtake that
  client.on("message", (data: RawData, isBinary) => take(data, isBinary));
  for (const { data, isBinary } of takeEarlier()) keep(data, isBinary);
  return {
    release(to) {
      const waiting = held;
      held = [];
      take = to;
      if (bytes > maxBytes) client.resume(); // before the first: whoever takes them may pause it anew
      for (const [data, isBinary] of waiting) to(data, isBinary);
    },
    drop() {
      held = [];
      take = () => undefined;
    },
  };
};
