/** The agent's end of one tunnel: an HTTP/2 server on the connection that it dialled itself. */
import { constants, performServerHandshake, type ServerHttp2Stream } from "node:http2";
import type { Duplex } from "node:stream";
import { closeGracefully } from "./graceful.ts";
import { agentAuthority, heartbeatTimeoutMs, sessionOptions, sessionWindow } from "./protocol.ts";
import { tapped } from "./tapped.ts";
import { type VitalsOptions, watch } from "./vitals.ts";

/** A connection that the gateway opens and waits for: one of the two is called, once. */
export interface Incoming {
  /** It is HTTP/1.1 to the agent. Closed when the gateway gives up; has an error listener from the start. */
  readonly connection: Duplex;
  take(): Duplex;
  /** The gateway then knows that the agent has heard nothing. */
  refuse(status: 502 | 503): void;
}

export interface ServeNeeds {
  readonly accept: (incoming: Incoming) => void;
  /** The gateway asks to connect elsewhere; what is open goes on. */
  readonly draining: () => void;
}

export interface Served {
  /** Why it is over. */
  readonly ended: Promise<string>;
  readonly streams: number;
  /** Lets what is open end, then closes. */
  finish(): void;
  /** Cuts everything. */
  end(reason: string): void;
}

const { NGHTTP2_REFUSED_STREAM } = constants;

const incomingOf = (stream: ServerHttp2Stream): Incoming => {
  const answer = (status: number, endStream: boolean): void => {
    if (!stream.destroyed && !stream.closed) stream.respond({ ":status": status }, { endStream });
  };
  return {
    connection: stream,
    take: () => {
      answer(200, false);
      return stream;
    },
    refuse: (status) => answer(status, true),
  };
};

const isConnect = (headers: { readonly [name: string]: unknown }): boolean =>
  headers[":method"] === "CONNECT" && headers[":authority"] === agentAuthority;

/** Takes the connection after its 101; bytes that came with it have been given back to it. */
export const serveTunnel = (
  socket: Duplex,
  { accept, draining }: ServeNeeds,
  options: Partial<VitalsOptions> = {},
): Served => {
  const session = performServerHandshake(socket, sessionOptions);
  const { promise, resolve } = Promise.withResolvers<string>();
  /** What was found first: others follow from it before the connection has closed. */
  let reason: string | undefined;
  let streams = 0;
  const end = (why: string): void => {
    reason ??= why;
    session.destroy();
    socket.destroy();
  };
  // a gateway that all its agents dial at once is late before it is hostile
  const patient = { settingsTimeoutMs: heartbeatTimeoutMs, ...options };
  const vitals = watch(session, { fail: end }, patient);
  const graceful = closeGracefully(session);
  session.setLocalWindowSize(sessionWindow);
  session.on("error", (error: Error) => {
    reason ??= error.message;
  });
  session.once("goaway", draining);
  session.once("close", () => {
    vitals.stop();
    socket.destroy();
    resolve(reason ?? "the gateway closed it");
  });
  socket.once("end", () => socket.destroy()); // an upgraded socket may stay half open; a tunnel has no use for that
  socket.once("close", () => session.destroy());
  session.on("stream", (stream: ServerHttp2Stream, headers) => {
    graceful.waitsFor(stream);
    stream.on("error", () => undefined); // whoever uses it hears 'close'
    if (graceful.isLeaving || !isConnect(headers)) return stream.close(NGHTTP2_REFUSED_STREAM);
    streams += 1;
    stream.once("close", () => {
      streams -= 1;
    });
    accept(incomingOf(tapped(stream, vitals)));
  });
  return {
    ended: promise,
    get streams() {
      return streams;
    },
    finish: graceful.leave,
    end,
  };
};
