/** A node whose agent announced itself and beats: from its first announcement until it is down. */
import type { AgentAddress } from "./agent-client.ts";

export interface Session extends AgentAddress {
  readonly nodeId: string;
  /** What the gateway shows to the agent; the agent alone knows it besides. */
  readonly pullSecret: string;
  /** Aborts when the node is down, was announced from elsewhere, or the gateway closes. */
  readonly signal: AbortSignal;
  readonly end: () => void;
  readonly startedAtMs: number;
  /** Monotonic, as all its times. */
  lastBeatMs: number;
  /** When its agent last answered a pull; the start before the first. */
  lastAnswerMs: number;
  /** Of the node document last taken, its metadata apart. */
  digest: string;
  /** True once its allocations were taken in. */
  synced: boolean;
  /** Ends the pause before the next try early; undefined while the last one was good. */
  hurry: (() => void) | undefined;
}

/** The credentials of the gateway's own requests. */
export const bearer = ({ pullSecret }: Session): Readonly<Record<string, string>> => ({
  authorization: `Bearer ${pullSecret}`,
});
