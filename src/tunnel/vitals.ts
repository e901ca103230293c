/** Whether the other end of a tunnel is alive and sane. Either side watches; whoever fails is cut. */
import type { Http2Session } from "node:http2";
import { heartbeatMs, heartbeatTimeoutMs } from "./protocol.ts";

export interface VitalsOptions {
  readonly heartbeatMs: number;
  readonly heartbeatTimeoutMs: number;
  /** Bytes a second that are no stream's data; more is a flood. */
  readonly maxOverhead: number;
}

const defaults: VitalsOptions = {
  heartbeatMs,
  heartbeatTimeoutMs,
  maxOverhead: 256 * 1024,
};

export interface Vitals {
  /** Told of each byte of a stream's data that came in. */
  counted(bytes: number): void;
  stop(): void;
}

const checkMs = 1_000;

/** Watches until stopped. `fail` is called once, with what is wrong. */
export const watch = (
  session: Http2Session,
  fail: (reason: string) => void,
  given: Partial<VitalsOptions> = {},
): Vitals => {
  const options = { ...defaults, ...given };
  const { socket } = session;
  let data = 0;
  let seen = { bytes: socket?.bytesRead ?? 0, data: 0 };
  let waiting: NodeJS.Timeout | undefined;

  const stop = (): void => {
    clearInterval(beats);
    clearInterval(checks);
    clearTimeout(waiting);
  };
  const failed = (reason: string): void => {
    stop();
    fail(reason);
  };

  const beat = (): void => {
    if (waiting !== undefined || session.destroyed) return;
    waiting = setTimeout(
      () => failed(`no answer to a heartbeat for ${options.heartbeatTimeoutMs / 1000} s`),
      options.heartbeatTimeoutMs,
    );
    session.ping(() => {
      clearTimeout(waiting);
      waiting = undefined;
    });
  };

  /** What came over the socket without being anybody's data: a little of it is framing, much of it is a flood. */
  const check = (): void => {
    const bytes = session.socket?.bytesRead ?? seen.bytes;
    const overhead = bytes - seen.bytes - (data - seen.data);
    const allowed = options.maxOverhead + (data - seen.data);
    seen = { bytes, data };
    if (overhead > allowed) failed("a flood of frames that carry nothing");
  };

  const beats = setInterval(beat, options.heartbeatMs);
  const checks = setInterval(check, checkMs);
  beats.unref();
  checks.unref();
  beat();
  return {
    counted: (bytes) => {
      data += bytes;
    },
    stop,
  };
};
