/**
 * The gateway's end of one tunnel: an HTTP/2 session whose client is the gateway. Each connection to the agent is one
 * CONNECT stream, with a stream's own credit, so that a stopped reader stalls nobody but itself.
 */
import { type ClientHttp2Stream, connect, constants, type IncomingHttpHeaders } from "node:http2";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { GatewayError } from "../errors.ts";
import { connectHeaders, maxStreams, sessionOptions, sessionWindow } from "./protocol.ts";
import { tapped } from "./tapped.ts";
import { type VitalsOptions, watch } from "./vitals.ts";

export interface LinkOptions extends Partial<VitalsOptions> {
  /** Milliseconds until the agent has answered a CONNECT. */
  readonly openMs?: number;
}

/** Called once: with a connection to the agent, or with why there is none. */
export type Opened = (error: GatewayError | null, connection: Duplex | null) => void;

export interface Link {
  /** Connections that are open or opening. */
  readonly streams: number;
  readonly isOpen: boolean;
  /** Opens a connection; returns how to give up. */
  open(opened: Opened): () => void;
  /** Tells the agent to connect elsewhere; what is open goes on. */
  drain(): void;
  /** Cuts everything. */
  end(reason: string): void;
}

const openMsDefault = 5_000;
const { NGHTTP2_CANCEL, NGHTTP2_NO_ERROR } = constants;

const unreachable = (reason: string): GatewayError =>
  new GatewayError("node_unreachable", { reason });

/** What a refused connection means. */
const refusals: Readonly<Record<number, string>> = {
  502: "its agent does not answer behind the tunnel",
  503: "as many connections go through its tunnel as may",
};

/** A stream as a socket: what HTTP clients ask of one beyond a Duplex, and which a stream has no need of. */
const asSocket = (stream: ClientHttp2Stream, counted: (bytes: number) => void): Duplex =>
  Object.assign(tapped(stream, counted), {
    setNoDelay: () => stream,
    setKeepAlive: () => stream,
    ref: () => stream,
    unref: () => stream,
  });

/** Takes the socket of an accepted hello. `ended` is told once why the tunnel is over. */
export const createLink = (
  socket: Duplex,
  ended: (reason: string) => void,
  options: LinkOptions = {},
): Link => {
  // http2 takes any duplex stream that is connected; its types know net.Socket alone
  const session = connect("http://agent", {
    ...sessionOptions,
    createConnection: () => socket as Socket,
  });
  const openMs = options.openMs ?? openMsDefault;
  let streams = 0;
  let reason = "the agent closed it";
  let isOver = false;
  let isDraining = false;

  const over = (): void => {
    if (isOver) return;
    isOver = true;
    vitals.stop();
    ended(reason);
  };
  const end = (why: string): void => {
    if (!isOver) reason = why;
    session.destroy();
    socket.destroy();
  };
  const vitals = watch(session, end, options);
  session.once("connect", () => {
    if (!session.destroyed) session.setLocalWindowSize(sessionWindow);
  });
  session.on("error", (error: Error) => {
    if (!isOver) reason = error.message;
  });
  session.on("goaway", () => {
    isDraining = true;
  });
  session.on("stream", (stream: ClientHttp2Stream) => stream.close(NGHTTP2_CANCEL));
  session.once("close", over);
  socket.once("end", () => socket.destroy()); // an upgraded socket may stay half open; a tunnel has no use for that
  socket.once("close", () => session.destroy());

  const open = (opened: Opened): (() => void) => {
    if (isOver || session.destroyed || session.closed)
      throw unreachable(`its tunnel is over: ${reason}`);
    const stream = session.request(connectHeaders, { endStream: false });
    streams += 1;
    let isTold = false;
    const tell: Opened = (error, connection) => {
      if (isTold) return;
      isTold = true;
      clearTimeout(timer);
      opened(error, connection);
    };
    const timer = setTimeout(() => {
      tell(unreachable("its tunnel does not answer"), null);
      stream.close(NGHTTP2_CANCEL);
    }, openMs);
    stream.on("error", (error: Error) => tell(unreachable(error.message), null));
    stream.once("close", () => {
      streams -= 1;
      tell(unreachable("its agent does not answer behind the tunnel"), null);
    });
    stream.once("response", (headers: IncomingHttpHeaders & { readonly ":status"?: number }) => {
      const status = headers[":status"] ?? 0;
      if (status === 200) return tell(null, asSocket(stream, vitals.counted));
      tell(unreachable(refusals[status] ?? `its tunnel answered ${status}`), null);
      stream.close(NGHTTP2_CANCEL);
    });
    return () => {
      tell(unreachable("given up"), null);
      stream.close(NGHTTP2_CANCEL);
    };
  };

  return {
    get streams() {
      return streams;
    },
    get isOpen() {
      return !isOver && !isDraining && !session.destroyed && streams < maxStreams;
    },
    open(opened) {
      if (streams >= maxStreams)
        throw new GatewayError("overloaded", { reason: "its tunnel is full" });
      return open(opened);
    },
    drain: () => {
      if (!session.destroyed) session.goaway(NGHTTP2_NO_ERROR);
    },
    end,
  };
};
