/**
 * Heartbeats of all framed streams from one timer: each stream beats once a second, in the phase in which it came, so
 * that thousands of streams never beat at once. The timer runs only while there are streams.
 */
import type { ServerResponse } from "node:http";
import { heartbeat } from "./frames.ts";

const phases = 20;
const defaultPeriodMs = 1_000;

/** What stops the beats; call it once. */
export type Heartbeats = (response: ServerResponse) => () => void;

/** A stream without head has no place for a beat yet; one whose reader is slow costs nothing more until it reads. */
const beat = (response: ServerResponse): void => {
  if (
    !response.headersSent ||
    response.writableNeedDrain ||
    response.writableEnded ||
    response.destroyed
  )
    return;
  response.write(heartbeat);
};

export const createHeartbeats = ({ periodMs = defaultPeriodMs } = {}): Heartbeats => {
  const wheel = Array.from({ length: phases }, () => new Set<ServerResponse>());
  let timer: NodeJS.Timeout | undefined;
  let now = 0;
  let count = 0;

  const turn = (): void => {
    now = (now + 1) % phases;
    for (const response of wheel[now] ?? []) beat(response);
  };

  return (response) => {
    const phase = wheel[now];
    phase?.add(response);
    count++;
    timer ??= setInterval(turn, periodMs / phases);
    return () => {
      if (!phase?.delete(response)) return;
      count--;
      if (count > 0) return;
      clearInterval(timer);
      timer = undefined;
    };
  };
};
