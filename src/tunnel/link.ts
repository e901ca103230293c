/**
 * The gateway's end of one tunnel: an HTTP/2 session whose client is the gateway. Each connection to the agent is one
 * CONNECT stream, with a stream's own credit, so that a stopped reader stalls nobody but itself.
 */
import { type ClientHttp2Stream, connect, constants, type IncomingHttpHeaders } from "node:http2";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { GatewayError } from "../errors.ts";
import { closeGracefully } from "./graceful.ts";
import {
  type StreamRefusal,
  silentObserver,
  type TunnelEnd,
  type TunnelObserver,
} from "./observer.ts";
import { connectHeaders, maxStreams, sessionOptions, sessionWindow } from "./protocol.ts";
import type { Rounds } from "./rounds.ts";
import { tapped } from "./tapped.ts";
import { type Vitals, type VitalsOptions, watch } from "./vitals.ts";

export interface LinkOptions extends Partial<VitalsOptions> {
  /** Milliseconds until the agent has answered a CONNECT. */
  readonly openMs?: number;
  readonly observe?: TunnelObserver;
}

/** Called once: with a connection to the agent, or with why there is none. */
export type Opened = (error: GatewayError | null, connection: Duplex | null) => void;

export interface Link {
  /** Connections that are open or opening. */
  readonly streams: number;
  readonly isOpen: boolean;
  /** It takes no new connections any more; those that it was opening have taken nothing to the agent. */
  readonly isOver: boolean;
  /** Either side has told the other to go elsewhere. */
  readonly isDraining: boolean;
  /** Opens a connection; returns how to give up. */
  open(opened: Opened): () => void;
  /** Tells the agent to connect elsewhere; what is open goes on. */
  drain(): void;
  /** Cuts everything. */
  end(reason: string, kind: TunnelEnd): void;
}

const openMsDefault = 5_000;
/** An agent may say that it goes, and later which stream was the last. */
const maxGoaways = 8;
const { NGHTTP2_CANCEL, NGHTTP2_NO_ERROR } = constants;

const unreachable = (reason: string): GatewayError =>
  new GatewayError("node_unreachable", { reason });

const full = (): GatewayError => new GatewayError("overloaded", { reason: "its tunnel is full" });

/** What a refused connection means. */
const refusals: Readonly<Record<number, readonly [StreamRefusal, string]>> = {
  502: ["agent_unreachable", "its agent does not answer behind the tunnel"],
  503: ["agent_full", "as many connections go through its tunnel as may"],
};

/** A peer that breaks HTTP/2, or a connection that broke under it. */
const isProtocolFault = (error: Error): boolean =>
  "code" in error && String(error.code).startsWith("ERR_HTTP2_");

/** A stream as a socket: what HTTP clients ask of one beyond a Duplex, and which a stream has no need of. */
const asSocket = (stream: ClientHttp2Stream, vitals: Vitals): Duplex =>
  Object.assign(tapped(stream, vitals), {
    setNoDelay: () => stream,
    setKeepAlive: () => stream,
    ref: () => stream,
    unref: () => stream,
  });

export interface LinkNeeds {
  /** Told once why the tunnel is over. */
  readonly ended: (reason: string, kind: TunnelEnd) => void;
  /** The agent takes no new connections through it; what is open goes on. */
  readonly leaving: () => void;
  /** Shared by the tunnels of a hub. */
  readonly checks?: Rounds;
}

/** Why a tunnel ended. */
interface Cause {
  readonly reason: string;
  readonly kind: TunnelEnd;
}

const closedByAgent: Cause = { reason: "the agent closed it", kind: "agent" };
const goneElsewhere: Cause = { reason: "its agent has gone elsewhere", kind: "drained" };

/** Takes the socket of an accepted hello. */
export const createLink = (
  socket: Duplex,
  { ended, leaving, checks }: LinkNeeds,
  options: LinkOptions = {},
): Link => {
  // http2 takes any duplex stream that is connected; its types know net.Socket alone
  const session = connect("http://agent", {
    ...sessionOptions,
    createConnection: () => socket as Socket,
  });
  const { openMs = openMsDefault, observe = silentObserver } = options;
  let streams = 0;
  let isOver = false;
  let isTold = false;
  /** What was found first: others follow from it before the connection has closed. */
  let cause: Cause | undefined;
  const causeOf = (): Cause => cause ?? (isTold ? goneElsewhere : closedByAgent);

  const over = (): void => {
    if (isOver) return;
    isOver = true;
    vitals.stop();
    cause = causeOf();
    ended(cause.reason, cause.kind);
  };
  const end: Link["end"] = (reason, kind) => {
    cause ??= { reason, kind };
    session.destroy();
    socket.destroy();
  };
  const vitals = watch(session, { fail: end, beat: observe.tunnelBeat, checks }, options);
  const graceful = closeGracefully(session);
  session.once("connect", () => {
    if (!session.destroyed) session.setLocalWindowSize(sessionWindow);
  });
  session.on("error", (error: Error) => {
    cause ??= { reason: error.message, kind: isProtocolFault(error) ? "protocol" : "lost" };
  });
  let goaways = 0;
  session.on("goaway", () => {
    goaways += 1;
    if (goaways > maxGoaways) return end("it says again and again that it goes", "flood");
    if (goaways === 1 && !isOver) leaving();
  });
  /** Streams that may be open at once: the agent may allow fewer than there could be. */
  const most = (): number =>
    Math.min(maxStreams, session.remoteSettings?.maxConcurrentStreams ?? maxStreams);
  /** Gives up those that no answer has come for, the newest first: beyond the agent's bound they would wait in vain. */
  const openings = new Set<() => void>();
  session.on("remoteSettings", () => {
    for (const giveUp of [...openings].reverse()) if (streams > most()) giveUp();
  });
  session.on("stream", (stream: ClientHttp2Stream) => stream.close(NGHTTP2_CANCEL));
  session.once("close", over);
  socket.once("end", () => socket.destroy()); // an upgraded socket may stay half open; a tunnel has no use for that
  socket.once("close", () => session.destroy());

  const takesNoMore = (): boolean => isOver || session.destroyed || graceful.isLeaving;

  const open = (opened: Opened): (() => void) => {
    if (takesNoMore()) {
      observe.tunnelStreamRefused("broken");
      throw unreachable(`its tunnel is over: ${causeOf().reason}`);
    }
    const stream = session.request(connectHeaders, { endStream: false });
    graceful.waitsFor(stream);
    streams += 1;
    let isTold = false;
    const tell: Opened = (error, connection) => {
      if (isTold) return;
      isTold = true;
      clearTimeout(timer);
      openings.delete(tooMany);
      opened(error, connection);
    };
    const refuse = (why: StreamRefusal, error: GatewayError): void => {
      if (!isTold) observe.tunnelStreamRefused(why);
      tell(error, null);
    };
    const leave = (): void => {
      if (!hasLeft) streams -= 1;
      hasLeft = true;
    };
    let hasLeft = false;
    const tooMany = (): void => {
      leave(); // it is closed in a moment
      refuse("full", full());
      stream.close(NGHTTP2_CANCEL);
    };
    openings.add(tooMany);
    const timer = setTimeout(() => {
      refuse("silent", unreachable("its tunnel does not answer"));
      stream.close(NGHTTP2_CANCEL);
    }, openMs);
    stream.on("error", (error: Error) => refuse("broken", unreachable(error.message)));
    stream.once("headers", () => end("it answers before its answer", "protocol")); // no 1xx is asked for
    stream.once("close", () => {
      leave();
      refuse("broken", unreachable("its agent does not answer behind the tunnel"));
    });
    stream.once("response", (headers: IncomingHttpHeaders & { readonly ":status"?: number }) => {
      const status = headers[":status"] ?? 0;
      if (status === 200) {
        if (!isTold) observe.tunnelStreamOpened();
        return tell(null, asSocket(stream, vitals));
      }
      const [why, words] = refusals[status] ?? ["agent_other", `its tunnel answered ${status}`];
      refuse(why, unreachable(words));
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
    get isDraining() {
      return isTold;
    },
    get isOpen() {
      return !takesNoMore() && streams < most();
    },
    get isOver() {
      return takesNoMore();
    },
    open(opened) {
      if (streams >= most()) {
        observe.tunnelStreamRefused("full");
        throw full();
      }
      return open(opened);
    },
    drain: () => {
      isTold = true;
      if (!session.destroyed) session.goaway(NGHTTP2_NO_ERROR);
    },
    end,
  };
};
