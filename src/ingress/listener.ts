/**
 * The public socket: node:http (or https) with every limit set on purpose, strict parsing, Nomad's words for what is no
 * HTTP at all, a bound on connections per address, and a drain.
 */
import type {
  IncomingMessage,
  RequestListener,
  Server,
  ServerOptions,
  ServerResponse,
} from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { Socket } from "node:net";
import { closeServer, listenOn } from "../http/serving.ts";
import { authorityOf } from "../lib/addresses.ts";
import { Bag, type Bagged } from "../lib/bag.ts";
import { Counts } from "../lib/counts.ts";
import { lastAnswer, plainText } from "../lib/last-answer.ts";
import { createServer, STATUS_CODES } from "../lib/node-http.ts";
import type { Log } from "../ports.ts";
import { isExecUpgrade } from "./exec-match.ts";
import { inTurn } from "./in-turn.ts";
import type { CallerNeeds } from "./plain/caller.ts";
import { standBefore } from "./plain/front.ts";
import type { TlsContext } from "./tls.ts";
import type { UpgradeListener } from "./upgrade.ts";

export interface ListenerOptions {
  readonly host: string;
  readonly port: number;
  /** Which requests reach `onUpgrade`; those on WebSocket rows without it. */
  readonly isUpgrade?: (request: IncomingMessage) => boolean;
  readonly maxHeaderBytes: number;
  readonly headersTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly keepAliveTimeoutMs: number;
  readonly tlsHandshakeTimeoutMs: number;
  readonly maxSocketsPerAddress: number;
  readonly maxSockets: number;
  /** TLS when given. */
  readonly tls: TlsContext | undefined;
}

export interface Listener {
  readonly server: Server;
  /** `host:port` as bound. */
  readonly address: string;
  /** Connections open now. */
  readonly sockets: number;
  /** Stops accepting; resolves when the last connection has ended, or is cut when the signal aborts. */
  close(signal: AbortSignal): Promise<void>;
}

const overLimitText =
  "Your IP is issuing too many concurrent connections, please rate limit your calls\n";
const overLimit = lastAnswer(429, [["Content-Type", "text/plain"]], overLimitText);

const tooManyText = "the gateway has as many connections as it can hold; try again\n";
const tooMany = lastAnswer(503, [plainText, ["Retry-After", "1"]], tooManyText);

const headerOverflow = "HPE_HEADER_OVERFLOW";

const requestTimeoutCode = "ERR_HTTP_REQUEST_TIMEOUT";
const requestTimeout = Object.assign(new Error("request timeout"), { code: requestTimeoutCode });

const badRequest = 400;
/** By the parser's code: the status, and other words than its own. */
const refusals: Readonly<Record<string, readonly [status: number, words?: string]>> = {
  [headerOverflow]: [431],
  [requestTimeoutCode]: [408],
  // as curl sends what was typed in another script
  HPE_INVALID_URL: [
    badRequest,
    "the request target holds a character that must be percent-encoded",
  ],
};

/** Answers a connection that has asked nothing, or nothing that can be read, and closes it. */
const turnAway = (socket: Socket, answer: Buffer): void => {
  socket.end(answer, () => socket.destroy());
};

/** Refuses what is no HTTP. Nothing is put into an answer that has begun: it goes out whole, or is cut. */
const answerClientError = (
  error: Error & { readonly code?: string },
  socket: Socket,
  answer: ServerResponse | undefined,
): void => {
  if (!socket.writable || error.code === "ECONNRESET") {
    socket.destroy();
    return;
  }
  if (answer?.headersSent) {
    if (answer.writableEnded) socket.destroySoon();
    else socket.destroy();
    return;
  }
  const [status, words] = refusals[error.code ?? ""] ?? [badRequest];
  turnAway(socket, lastAnswer(status, [plainText], words ?? `${status} ${STATUS_CODES[status]}`));
};

/** Told of each connection or header beyond a bound. */
export type Limited = (limit: "sockets" | "sockets_per_address" | "header") => void;

interface Connection extends Bagged {
  readonly socket: Socket;
}

/** Counts connections: one over a bound is told so in raw HTTP (per address as Nomad, nomad-http.md §1.1) and closed. */
const limitSockets = (
  server: Server,
  { maxSockets, maxSocketsPerAddress }: ListenerOptions,
  limited: Limited,
): Bag<Connection> => {
  const all = new Bag<Connection>();
  const perAddress = new Counts();
  server.on("connection", (socket: Socket) => {
    socket.on("error", () => socket.destroy());
    const address = socket.remoteAddress ?? "";
    if (all.size >= maxSockets) {
      limited("sockets");
      return turnAway(socket, tooMany);
    }
    if (perAddress.of(address) >= maxSocketsPerAddress) {
      limited("sockets_per_address");
      return turnAway(socket, overLimit);
    }
    const connection: Connection = { socket, place: -1 };
    all.add(connection);
    perAddress.add(address);
    socket.on("close", () => {
      all.delete(connection);
      perAddress.remove(address);
    });
  });
  return all;
};

const createSecure = (
  limits: ServerOptions,
  context: TlsContext,
  handshakeTimeout: number,
  onRequest: RequestListener,
): Server => {
  const server = createTlsServer({ ...limits, ...context.options, handshakeTimeout }, onRequest);
  context.attach(server);
  return server;
};

const create = (options: ListenerOptions, onRequest: RequestListener): Server => {
  const limits = {
    maxHeaderSize: options.maxHeaderBytes,
    headersTimeout: options.headersTimeoutMs,
    requestTimeout: options.requestTimeoutMs,
    keepAliveTimeout: options.keepAliveTimeoutMs,
    connectionsCheckingInterval: 1_000,
    insecureHTTPParser: false,
    noDelay: true,
    shouldUpgradeCallback: options.isUpgrade ?? isExecUpgrade,
  };
  return options.tls
    ? createSecure(limits, options.tls, options.tlsHandshakeTimeoutMs, onRequest)
    : createServer(limits, onRequest);
};

/** Listens; rejects with the system's error (`EADDRINUSE`, ...). */
export const openListener = async (
  {
    log,
    onRequest,
    begin,
    onUpgrade,
    limited = () => {},
  }: {
    readonly log: Log;
    readonly limited?: Limited;
    readonly onRequest: RequestListener;
    /** Plain requests are its own to begin. */
    readonly begin: CallerNeeds["begin"];
    readonly onUpgrade: UpgradeListener;
  },
  options: ListenerOptions,
): Promise<Listener> => {
  const turns = inTurn(onRequest, onUpgrade);
  const server = create(options, turns.onRequest);
  const all = limitSockets(server, options, limited);
  const late = (socket: Socket): void => answerClientError(requestTimeout, socket, undefined);
  const front = standBefore(server, { begin, late }, options);
  server.maxHeadersCount = 0; // their size is bounded; dropped ones could hide a doubled credential
  server.on("clientError", (error: Error & { readonly code?: string }, socket: Socket) => {
    if (error.code === headerOverflow) limited("header");
    answerClientError(error, socket, turns.answerOn(socket));
  });
  server.on("upgrade", turns.onUpgrade);
  server.on("tlsClientError", (err: Error) => log.debug({ err }, "TLS handshake failed"));
  const bound = await listenOn(server, options.host, options.port);
  server.on("error", (err) => log.error({ err }, "listener error"));
  return {
    server,
    address: authorityOf(bound.address, bound.port),
    get sockets() {
      return all.size;
    },
    close: (signal) =>
      closeServer(
        server,
        signal,
        () => {
          for (const { socket } of all) socket.destroy(); // WebSockets too, which the server does not know any more
        },
        front.closeIdle,
      ),
  };
};
