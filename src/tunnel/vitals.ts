/** Whether the other end of a tunnel is alive and sane. Either side watches; whoever fails is cut. */
import type { Http2Session } from "node:http2";
import type { TunnelEnd } from "./observer.ts";
import {
  heartbeatMs,
  heartbeatTimeoutMs,
  settingsTimeoutMs,
  streamWindow,
  stuckTimeoutMs,
  tinyBytes,
} from "./protocol.ts";
import { looksInTimeout, Pulse } from "./pulse.ts";
import { createRounds, type Rounds } from "./rounds.ts";

export interface VitalsNeeds {
  /** Called once, with what is wrong. */
  readonly fail: (
    reason: string,
    kind: Extract<TunnelEnd, "heartbeat" | "flood" | "protocol" | "lost">,
  ) => void;
  /** Told how long each heartbeat took. */
  readonly beat?: (roundTripMs: number) => void;
  /** Shared by all that are watched; one of its own where it is not given. */
  readonly checks?: Rounds | undefined;
}

export interface VitalsOptions {
  readonly heartbeatMs: number;
  readonly heartbeatTimeoutMs: number;
  /** The same while the line takes nothing of what is written. */
  readonly stuckTimeoutMs: number;
  /** Until the other side's SETTINGS are there, the first that it sends. */
  readonly settingsTimeoutMs: number;
  /** Bytes a second that are no stream's data; more is a flood. */
  readonly maxOverhead: number;
  /** Frames a second that carry next to nothing; each costs as much work as a full one. */
  readonly maxTinyFrames: number;
}

const defaults: VitalsOptions = {
  heartbeatMs,
  heartbeatTimeoutMs,
  stuckTimeoutMs,
  settingsTimeoutMs,
  maxOverhead: 256 * 1024,
  maxTinyFrames: 8_192,
};

export interface Vitals {
  /** Told of the bytes of each frame of a stream's data that came in. */
  counted(bytes: number): void;
  /** Told of a stream that was left before its end: what is on its way for it comes all the same. */
  abandoned(): void;
  stop(): void;
}

const checksPerSecond = 4;
const checkMs = 1_000 / checksPerSecond;
/** For tunnels that are watched together. */
export const createChecks = (): Rounds => createRounds(checkMs);

/** Asked at each check: true when that has been so for too long. A time in which this process stood still is no such. */
const overdue = (timeoutMs: number): (() => boolean) => {
  let checks = 0;
  return () => {
    checks += 1;
    return checks * checkMs > timeoutMs;
  };
};

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
  let overheadLeft = options.maxOverhead;
  let tinyLeft = options.maxTinyFrames;
  /** Bytes that may still come for streams that were left, of all time, and how many of them have come or cannot come any more. */
  const onTheirWay = { most: 0, settled: 0 };
  let answered = 0;

  const stop = (): void => {
    clearInterval(beats);
    clearInterval(looks);
    leaveChecks();
  };
  let isOver = false;
  const failed: VitalsNeeds["fail"] = (reason, kind) => {
    if (isOver) return;
    isOver = true;
    stop();
    needs.fail(reason, kind);
  };

  const pulse = new Pulse(session);
  const beat = (): void => {
    if (session.destroyed) return;
    const { most } = onTheirWay;
    const isSent = session.ping((error, roundTripMs) => {
      if (error !== null) return;
      // whoever answers has heard before which streams were left, and sends nothing more for them
      answered = Math.max(answered, most);
      pulse.answered();
      needs.beat?.(roundTripMs);
    });
    if (isSent) pulse.sent();
  };

  const lookMs = options.heartbeatTimeoutMs / looksInTimeout;
  const fatal = (): string | undefined => {
    switch (pulse.look()) {
      case "alive":
        return undefined;
      case "silent":
        return `no answer to a heartbeat for ${options.heartbeatTimeoutMs / 1000} s`;
      case "stuck":
        if (pulse.silentLooks * lookMs < options.stuckTimeoutMs) return undefined;
        return `nothing could be sent for ${options.stuckTimeoutMs / 1000} s`;
    }
  };
  const look = (): void => {
    const reason = session.destroyed ? undefined : fatal();
    if (reason !== undefined) failed(reason, "heartbeat");
  };

  const flooded = (): void => failed("a flood of frames that carry nothing", "flood");
  const refilled = (left: number, most: number): number =>
    Math.min(most, left + most / checksPerSecond);

  let hasSettings = false;
  session.once("remoteSettings", () => {
    hasSettings = true;
  });
  const isMute = overdue(options.settingsTimeoutMs);
  const isLate = overdue(options.stuckTimeoutMs);

  /** What came over the socket without being anybody's data: a little of it is framing, much of it is a flood. */
  const weigh = (): void => {
    const bytes = session.socket?.bytesRead ?? seen.bytes;
    const carried = data - seen.data;
    const overhead = bytes - seen.bytes - carried;
    seen = { bytes, data };
    const stray = Math.max(0, overhead - carried);
    const expected = Math.min(stray, onTheirWay.most - onTheirWay.settled);
    onTheirWay.settled = Math.max(onTheirWay.settled + expected, answered);
    overheadLeft = refilled(overheadLeft, options.maxOverhead) - (stray - expected);
    tinyLeft = refilled(tinyLeft, options.maxTinyFrames);
    if (overheadLeft < 0) flooded();
  };
  const check = (): void => {
    if (session.destroyed) {
      // it waits for its socket's end, which is worth a wait for the last bytes alone
      if (!session.closed || isLate()) failed("the connection is not closed", "lost");
    } else if (!hasSettings && isMute()) failed("no SETTINGS from the other side", "protocol");
    else weigh();
  };

  const beats = setInterval(beat, options.heartbeatMs);
  const looks = setInterval(look, lookMs);
  for (const timer of [beats, looks]) timer.unref();
  const leaveChecks = (needs.checks ?? createChecks()).join(check);
  beat();
  return {
    counted: (bytes) => {
      data += bytes;
      if (bytes >= tinyBytes) return;
      tinyLeft -= 1;
      if (tinyLeft < 0) flooded(); // at once: a thousand of them fit into one read
    },
    abandoned: () => {
      onTheirWay.most += streamWindow;
    },
    stop,
  };
};
