/** What every way to carry over HTTP is given. */
import type { Clock, Exchange, HttpResponse, Reach, Tally } from "../ports.ts";
import type { Deadline } from "../routes.ts";
import type { Shares } from "./shared/shares.ts";

/** Bounds of carriage; each has a default in carry.ts. */
export interface Limits {
  /** Milliseconds until the first byte of an agent's answer, by the word in the route's row. */
  readonly deadlinesMs: Readonly<Record<Deadline, number>>;
  /** Bytes of a short call's answer. */
  readonly maxDocumentBytes: number;
  /** Bytes of an agent's refusal on a stream route. */
  readonly maxRefusalBytes: number;
  /** Milliseconds a caller may take no byte of a download (or a socket's peer no message) that waits for it. */
  readonly stallMs: number;
  /** The same for a followed log: a viewer may pause longer. */
  readonly followStallMs: number;
  /** Milliseconds an agent may be silent inside a download. */
  readonly downloadSilenceMs: number;
  /** Milliseconds a download without an ETag is held for its first MiB, which may bring one; a slower one is passed on as it comes. */
  readonly quickMs: number;
  /** Milliseconds that file then waits for its description. */
  readonly lookMs: number;
  /** Milliseconds an agent may be silent inside a framed stream, which has a heartbeat each second. */
  readonly followSilenceMs: number;
  /** Milliseconds between two pings on a WebSocket. */
  readonly pingMs: number;
  /** Milliseconds a WebSocket peer has for its half of the close. */
  readonly closeMs: number;
  /** Milliseconds until an agent has answered an upgrade. */
  readonly handshakeMs: number;
  /** Bytes of one WebSocket message. */
  readonly maxMessageBytes: number;
  /** Bytes that may wait for a slow WebSocket peer before the other side is paused. */
  readonly maxWaitingBytes: number;
  /** Bytes of messages held until the agent's socket is open. */
  readonly maxHeldBytes: number;
}

/** Whose agents they are: Nomad's know nothing of tokens in logs. */
export type Agents = "serai" | "nomad";

export interface Carrying {
  readonly exchange: Exchange;
  readonly reach: Reach;
  readonly tally: Tally;
  readonly response: HttpResponse;
  readonly clock: Clock;
  readonly limits: Limits;
  /** Followed logs that many viewers share. */
  readonly shares: Shares;
  readonly agents: Agents;
}

/** Milliseconds until the first byte; undefined: as long as it takes. */
export const deadlineMsOf = ({ exchange, limits }: Carrying): number | undefined => {
  const { deadline } = exchange.route;
  return deadline === undefined ? undefined : limits.deadlinesMs[deadline];
};

/** Notes the time of the agent's first byte. */
export const heard = ({ exchange, tally, clock }: Carrying): void => {
  tally.firstByteMs ??= clock.monotonic() - exchange.startedAtMs;
};

/** Throws and rejects with a GatewayError. */
export type HttpCarriage = (carrying: Carrying) => Promise<void>;
