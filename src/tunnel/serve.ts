/** The agent's end of one tunnel: an HTTP/2 server on the connection that it dialled itself. */
import { constants, performServerHandshake, type ServerHttp2Stream } from "node:http2";
import type { Duplex } from "node:stream";
import { agentAuthority, sessionOptions, sessionWindow } from "./protocol.ts";
import { type VitalsOptions, watch } from "./vitals.ts";

export interface ServeNeeds {
  /** Takes a connection that the gateway opened; it is HTTP/1.1 to the agent. */
  readonly accept: (connection: Duplex) => void;
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
  let reason = "the gateway closed it";
  let streams = 0;
  const end = (why: string): void => {
    reason = why;
    session.destroy();
    socket.destroy();
  };
  const vitals = watch(session, end, options);
  session.setLocalWindowSize(sessionWindow);
  session.on("error", (error: Error) => {
    reason = error.message;
  });
  session.once("goaway", draining);
  session.once("close", () => {
    vitals.stop();
    socket.destroy();
    resolve(reason);
  });
  socket.once("close", () => session.destroy());
  session.on("stream", (stream: ServerHttp2Stream, headers) => {
    stream.on("error", () => undefined); // whoever uses it hears 'close'
    if (!isConnect(headers)) return stream.close(NGHTTP2_REFUSED_STREAM);
    streams += 1;
    stream.once("close", () => {
      streams -= 1;
    });
    const push = stream.push.bind(stream);
    stream.push = (chunk: Buffer | null) => {
      if (chunk !== null) vitals.counted(chunk.length);
      return push(chunk);
    };
    stream.respond({ ":status": 200 });
    accept(stream);
  });
  return {
    ended: promise,
    get streams() {
      return streams;
    },
    finish: () => session.close(),
    end,
  };
};
