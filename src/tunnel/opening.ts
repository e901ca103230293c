/** How a connection is opened through a node's tunnel: through the one that is held, or through the next one. */
import { GatewayError } from "../errors.ts";
import type { Link, Opened } from "./link.ts";
import type { StreamRefusal, TunnelObserver } from "./observer.ts";
import type { Waiting } from "./waiting.ts";

export interface OpeningNeeds {
  readonly linkOf: (nodeId: string) => Link | undefined;
  /** One more may wait for that node's next tunnel. */
  readonly mayWait: (nodeId: string) => boolean;
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

export const createOpening = ({ linkOf, mayWait, waiting, observe }: OpeningNeeds): Opening => {
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

  const next: Opening["next"] = (nodeId, opened) => {
    let giveUp = waiting.add(nodeId, () => {
      giveUp = open(nodeId, opened, "not_back");
    });
    return () => giveUp();
  };

  /** Whoever meets a tunnel in the moment of its end has sent nothing through it, and takes the next one, be it there already. */
  const now: Opening["now"] = (nodeId, opened) => {
    const link = linkOf(nodeId);
    let isGivenUp = false;
    const orNext: Opened = (error, connection) => {
      const isLost = error !== null && link?.isOver === true && !isGivenUp;
      const another = linkOf(nodeId);
      if (isLost && another !== undefined && another !== link) giveUp = now(nodeId, opened);
      else if (isLost && mayWait(nodeId)) giveUp = next(nodeId, opened);
      else opened(error, connection);
    };
    let giveUp = open(nodeId, orNext, "no_tunnel");
    return () => {
      isGivenUp = true;
      giveUp();
    };
  };

  return { now, next };
};
