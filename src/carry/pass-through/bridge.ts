/**
 * A WebSocket of a server, passed on byte by byte: both halves to their ends, none without the other, none that stands
 * still for long. The conversation is not touched; its pings and its close are the two ends' own.
 */
import type { Duplex } from "node:stream";
import { pipeline } from "node:stream/promises";
import { toClose } from "../../answer.ts";
import { GatewayError, toGatewayError } from "../../errors.ts";
import type { Tally } from "../../ports.ts";
import { refusesToken } from "../collect.ts";
import { tooSlow } from "../cut.ts";
import { peer } from "./faults.ts";
import { type Close, type Frames, watchFrames } from "./frames.ts";

export interface BridgeLimits {
  /** Milliseconds the second half may outlive the first. */
  readonly lingerMs: number;
  /** Milliseconds an end may take nothing of what waits for it; it is noticed within twice that. */
  readonly stallMs: number;
}

export interface Ends {
  readonly caller: Duplex;
  readonly server: Duplex;
  /** What the caller says passes this first; its error ends both. */
  readonly guard?: Duplex | undefined;
}

type End = "caller" | "server";

const upstreamBroke = (reason: string): GatewayError =>
  new GatewayError("upstream_broke", { peer, reason });

/** What a server's close says of the command: nothing was wrong, or it was refused. For log and audit. */
const meaningOf = ({ code, reason }: Close): GatewayError | undefined => {
  if (refusesToken(reason)) return new GatewayError("permission_denied");
  switch (code) {
    case undefined:
    case 1000:
    case 1001:
      return undefined;
    case 1008:
      return new GatewayError("invalid_request", { text: reason });
    case 1011:
      return new GatewayError("failed", { text: reason });
    default:
      return upstreamBroke(`it closed with ${code}`);
  }
};

/** Two pipelines at each end, and who waits for it. */
const maxListeners = 20;

/** Our own goodbye as a frame. */
const closeFrame = (error: GatewayError): Buffer => {
  const { code, reason } = toClose(error);
  const words = Buffer.from(reason);
  const frame = Buffer.alloc(4 + words.length);
  frame.writeUInt8(0x88, 0);
  frame.writeUInt8(2 + words.length, 1);
  frame.writeUInt16BE(code, 2);
  words.copy(frame, 4);
  return frame;
};

interface Watch {
  readonly end: Duplex;
  /** Its pipeline pauses it while bytes wait for the end. */
  readonly from: Duplex;
  readonly stallMs: number;
  /** Told since when (monotonic) bytes wait for the end; undefined when none does. */
  readonly waits: (sinceMs: number | undefined) => void;
  /** Bytes wait for the end, and it has taken none since the last look. */
  readonly stalled: () => void;
}

const watchProgress = ({ end, from, stallMs, waits, stalled }: Watch): (() => void) => {
  let drains = 0;
  let seen = -1;
  const onPause = (): void => waits(performance.now());
  const onDrain = (): void => {
    drains += 1;
    waits(undefined);
  };
  from.on("pause", onPause);
  end.on("drain", onDrain);
  const timer = setInterval(() => {
    if (end.writableNeedDrain && drains === seen) stalled();
    seen = end.writableNeedDrain ? drains : -1;
  }, stallMs);
  return () => {
    clearInterval(timer);
    from.off("pause", onPause);
    end.off("drain", onDrain);
  };
};

/** How it ended when nothing of the gateway's ended it. Behind an exit frame Nomad ends the connection without a close. */
const outcomeOf = (
  { caller, server }: Ends,
  first: End | undefined,
  { close, exitCode }: Frames,
): GatewayError | undefined => {
  if (close !== undefined) return meaningOf(close);
  if (exitCode !== undefined) return undefined;
  const isCallers = first === "caller" || (caller.errored !== null && server.errored === null);
  return isCallers ? new GatewayError("client_closed") : upstreamBroke("connection lost");
};

/**
 * Resolves when both ends have ended in an order that the server's exit or close frame says was good. Rejects with what was not;
 * both are destroyed then as well. An abort says goodbye to the caller in a frame of its own where one fits.
 */
export const bridge = async (
  ends: Ends,
  signal: AbortSignal,
  tally: Tally,
  { lingerMs, stallMs }: BridgeLimits,
): Promise<void> => {
  const { caller, server, guard } = ends;
  const frames = watchFrames();
  let linger: NodeJS.Timeout | undefined;
  let first: End | undefined;
  let reason: GatewayError | undefined;

  const destroyBoth = (): void => {
    caller.destroy();
    server.destroy();
  };
  const end = (error: GatewayError): void => {
    if (reason !== undefined) return;
    const isTold = frames.close !== undefined || frames.exitCode !== undefined; // how it went
    if (!isTold || caller.writableLength > 0) reason = error;
    if (frames.isBetween && frames.close === undefined && !caller.destroyed)
      caller.write(closeFrame(error));
    destroyBoth();
  };
  const onAbort = (): void => end(signal.reason);
  const half = async (from: End, ...to: readonly Duplex[]): Promise<void> => {
    await pipeline([ends[from], ...to]);
    first ??= from;
    linger ??= setTimeout(destroyBoth, lingerMs);
  };

  for (const one of [caller, server]) one.setMaxListeners(maxListeners);
  caller.on("data", (chunk: Buffer) => {
    tally.bytesIn += chunk.length;
  });
  server.on("data", (chunk: Buffer) => {
    frames.see(chunk);
    tally.bytesOut += chunk.length;
  });
  const limit = `${stallMs / 1000} s`;
  const watches = [
    watchProgress({
      end: caller,
      from: server,
      stallMs,
      waits: (sinceMs) => {
        tally.callerStalledAtMs = sinceMs;
      },
      stalled: () => end(tooSlow(stallMs)),
    }),
    watchProgress({
      end: server,
      from: guard ?? caller,
      stallMs,
      waits: (sinceMs) => {
        tally.agentStalledAtMs = sinceMs;
      },
      stalled: () => end(new GatewayError("upstream_timeout", { peer, limit })),
    }),
  ];
  guard?.once("error", (error) => end(toGatewayError(error)));
  signal.addEventListener("abort", onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    await Promise.allSettled([
      half("caller", ...(guard ? [guard] : []), server),
      half("server", caller),
    ]);
  } finally {
    clearTimeout(linger);
    for (const stop of watches) stop();
    signal.removeEventListener("abort", onAbort);
    destroyBoth();
    tally.exitCode = frames.exitCode;
  }
  const outcome = reason ?? outcomeOf(ends, first, frames);
  if (outcome !== undefined) throw outcome;
};
