/** How a session ends that one side wants to leave: no new streams go through it, those that are open go on to their ends. */
import { constants, type Http2Session, type Http2Stream } from "node:http2";

export interface Graceful {
  /** Either side has said that it goes. */
  readonly isLeaving: boolean;
  /** Tells the other side that this one goes, by GOAWAY. */
  leave(): void;
  /** Told of each stream: the session does not close before it has. */
  waitsFor(stream: Http2Stream): void;
}

/**
 * Takes the place of node's `close()`, which node itself calls for a peer's GOAWAY. Node's is deaf while streams are open: it
 * tells nobody that nghttp2 has given the session up, as for a peer that breaks the protocol behind its GOAWAY; from then on
 * nothing is read, so that the peer's end is not seen either. This one leaves node's, and a GOAWAY that answers one, for the
 * moment when no stream is open.
 */
export const closeGracefully = (session: Http2Session): Graceful => {
  const close = session.close.bind(session);
  let isLeaving = false;
  let streams = 0;
  const closeWhenIdle = (): void => {
    if (isLeaving && streams === 0) close();
  };
  session.close = () => {
    isLeaving = true;
    closeWhenIdle();
  };
  return {
    get isLeaving() {
      return isLeaving;
    },
    leave() {
      if (session.destroyed) return;
      session.goaway(constants.NGHTTP2_NO_ERROR);
      session.close();
    },
    waitsFor(stream) {
      streams += 1;
      stream.once("close", () => {
        streams -= 1;
        closeWhenIdle();
      });
    },
  };
};
