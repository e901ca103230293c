/** How a connection is opened through a node's tunnel: through the one that is held, or through the next one. */
import { GatewayError } from "../errors.ts";
import type { Link, Opened } from "./link.ts";
import type { StreamRefusal, TunnelObserver } from "./observer.ts";
import type { Waiting } from "./waiting.ts";

export interface OpeningNeeds {
  readonly linkOf: (nodeId: string) => Link | undefined;
  /** One more may wait for that node's next tunnel. */
  readonly mayWait: (nodeId: string) => boolean;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  readonly waiting: Waiting;
  readonly observe: TunnelObserver;
}

/** Each calls back once, never before it has returned how to give up. */
export interface Opening {
  now(nodeId: string, opened: Opened): () => void;
  /** When it is there, or has not come in time. */
  next(nodeId: string, opened: Opened): () => void;
}

const unreachable = (reason: string): GatewayError =>
  new GatewayError("node_unreachable", { reason });

/** Of one that has not waited. */
const never = Number.POSITIVE_INFINITY;

export const createOpening = ({
  linkOf,
  mayWait,
  now,
  waiting,
  observe,
}: OpeningNeeds): Opening => {
  const open = (nodeId: string, opened: Opened, missing: StreamRefusal): (() => void) => {
    try {
      const link = linkOf(nodeId);
      if (link !== undefined) return link.open(opened);
      observe.tunnelStreamRefused(missing);
      throw unreachable("its tunnel is not open");
    } catch (error) {
      const refusal = error instanceof GatewayError ? error : unreachable(String(error));
      queueMicrotask(() => opened(refusal, null));
      return () => undefined;
    }
  };

  const awaited = (nodeId: string, opened: Opened, untilMs: number): (() => void) => {
    let giveUp = waiting.add(nodeId, untilMs, () => {
      giveUp = held(nodeId, opened, untilMs);
    });
    return () => giveUp();
  };

  /**
   * Whoever meets a tunnel in the moment of its end has sent nothing through it, and takes the next one, be it there already. All the
   * waits of one together last no longer than one.
   */
  const held = (nodeId: string, opened: Opened, untilMs: number): (() => void) => {
    const link = linkOf(nodeId);
    let isGivenUp = false;
    const orNext: Opened = (error, connection) => {
      const isLost = error !== null && link?.isOver === true && !isGivenUp && now() < untilMs;
      const another = linkOf(nodeId);
      if (isLost && another !== undefined && another !== link)
        giveUp = held(nodeId, opened, untilMs);
      else if (isLost && mayWait(nodeId))
        giveUp = awaited(nodeId, opened, Math.min(untilMs, waiting.untilMs));
      else opened(error, connection);
    };
    let giveUp = open(nodeId, orNext, untilMs === never ? "no_tunnel" : "not_back");
    return () => {
      isGivenUp = true;
      giveUp();
    };
  };

  return {
    now: (nodeId, opened) => held(nodeId, opened, never),
    next: (nodeId, opened) => awaited(nodeId, opened, waiting.untilMs),
  };
};
