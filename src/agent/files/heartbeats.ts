/** Heartbeats of all framed streams: each beats once a second, and no two thousand of them at once. */
import type { ServerResponse } from "node:http";
import { createWheel } from "../../lib/wheel.ts";
import { heartbeat } from "../../logs/frame.ts";

const defaultPeriodMs = 1_000;

/** `text` is one beat. What stops the beats; call it once. */
export type Heartbeats = (response: ServerResponse, text?: string) => () => void;

/** A stream without head has no place for a beat yet; one whose reader is slow costs nothing more until it reads. */
const beat = (response: ServerResponse, text: string): void => {
  if (
    !response.headersSent ||
    response.writableNeedDrain ||
    response.writableEnded ||
    response.destroyed
  )
    return;
  response.write(text);
};

export const createHeartbeats = ({ periodMs = defaultPeriodMs } = {}): Heartbeats => {
  const wheel = createWheel(periodMs);
  return (response, text = heartbeat) => wheel({ beat: () => beat(response, text) });
};
