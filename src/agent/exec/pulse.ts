/** Finds out that a client has gone without a word, as when its machine lost power: what answers no ping is cut. */
import type { WebSocket } from "ws";

const periodMs = 30_000;
const maxSilentRounds = 2;
/** A ping may lie behind megabytes of output. Whoever takes none of much is given up by the outbox before. */
const maxSilentRoundsBehind = 10;

/** Ended by the answer. A socket that is not read from now gives no sign, and is not asked for one. */
export const watchPulse = (socket: WebSocket, everyMs: number = periodMs): (() => void) => {
  let silentRounds = 0;
  let isBehind = false;
  const lives = (): void => {
    silentRounds = 0;
    isBehind = false;
  };
  for (const sign of ["ping", "pong", "message"]) socket.on(sign, lives);
  const timer = setInterval(() => {
    isBehind ||= socket.bufferedAmount > 0;
    if (silentRounds >= (isBehind ? maxSilentRoundsBehind : maxSilentRounds)) socket.terminate();
    if (socket.isPaused || socket.readyState !== socket.OPEN) return;
    silentRounds++;
    socket.ping();
  }, everyMs);
  return () => {
    clearInterval(timer);
    for (const sign of ["ping", "pong", "message"]) socket.off(sign, lives);
  };
};
