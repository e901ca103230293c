/** Whom the feed tells how it fares. */
import type { ResyncReason } from "../feed.ts";
import type { StreamLoss } from "./event-stream.ts";

/** Facts for metrics; each is told as it happens. */
export interface NomadFeedObserver {
  streamLost(loss: StreamLoss): void;
  /** A whole picture was read. */
  listed(reason: ResyncReason, durationMs: number): void;
  /** A page could not be had. */
  listFailed(): void;
}

export const silentObserver: NomadFeedObserver = {
  streamLost: () => {},
  listed: () => {},
  listFailed: () => {},
};
