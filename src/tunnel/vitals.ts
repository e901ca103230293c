/** Whether the other end of a tunnel is alive and sane. Either side watches; whoever fails is cut. */
import type { Http2Session } from "node:http2";
import type { TunnelEnd } from "./observer.ts";
import { heartbeatMs, heartbeatTimeoutMs } from "./protocol.ts";

export interface VitalsNeeds {
  /** Called once, with what is wrong. */
  readonly fail: (reason: string, kind: Extract<TunnelEnd, "heartbeat" | "flood">) => void;
  /** Told how long each heartbeat took. */
  readonly beat?: (roundTripMs: number) => void;
}

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

/** Watches until stopped. */
export const watch = (
  session: Http2Session,
  needs: VitalsNeeds,
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
  const failed: VitalsNeeds["fail"] = (reason, kind) => {
    stop();
    needs.fail(reason, kind);
  };

  const beat = (): void => {
    if (waiting !== undefined || session.destroyed) return;
    waiting = setTimeout(
      () =>
        failed(`no answer to a heartbeat for ${options.heartbeatTimeoutMs / 1000} s`, "heartbeat"),
      options.heartbeatTimeoutMs,
    );
    session.ping((error, roundTripMs) => {
      clearTimeout(waiting);
      waiting = undefined;
      if (error === null) needs.beat?.(roundTripMs);
    });
  };

  /** What came over the socket without being anybody's data: a little of it is framing, much of it is a flood. */
  const check = (): void => {
    const bytes = session.socket?.bytesRead ?? seen.bytes;
    const overhead = bytes - seen.bytes - (data - seen.data);
    const allowed = options.maxOverhead + (data - seen.data);
    seen = { bytes, data };
    if (overhead > allowed) failed("a flood of frames that carry nothing", "flood");
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
