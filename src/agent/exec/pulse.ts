/** Finds out that a client has gone without a word, as when its machine lost power: what answers no ping is cut. */
import type { WebSocket } from "ws";

const periodMs = 30_000;
const maxSilentRounds = 2;

/** Ended by the answer. A socket that is not read from now gives no sign, and is not asked for one. */
export const watchPulse = (socket: WebSocket, everyMs: number = periodMs): (() => void) => {
  let silentRounds = 0;
  const lives = (): void => {
    silentRounds = 0;
  };
  for (const sign of ["ping", "pong", "message"]) socket.on(sign, lives);
  const timer = setInterval(() => {
    if (silentRounds >= maxSilentRounds) socket.terminate();
    if (socket.isPaused || socket.readyState !== socket.OPEN) return;
    silentRounds++;
    socket.ping();
  }, everyMs);
  return () => {
    clearInterval(timer);
    for (const sign of ["ping", "pong", "message"]) socket.off(sign, lives);
  };
};
