/**
 * The WebSockets of the servers: a job's action, and an exec in another region. Only a checked 101 makes a pipe; every other answer is copied as far
 * as its bound and both sides are closed. Not by the proxy: it writes a 101 unchecked, and its pipes leave one half open
 * when the other breaks.
 */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { request as ask, type IncomingMessage, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import { pipeline } from "node:stream/promises";
import { toClose } from "../../answer.ts";
import { GatewayError, toGatewayError } from "../../errors.ts";
import { readBounded } from "../../lib/read-bounded.ts";
import { inTurn, type Servers } from "../../nomad/servers.ts";
import type { Log } from "../../ports.ts";
import { type Connections, Undialled } from "./connections.ts";
import { invalidAnswer, named, peer } from "./faults.ts";
import { firstMessage } from "./first-message.ts";
import { toCaller, toServer } from "./headers.ts";
import type { PassThroughContext } from "./passage.ts";
import { readPassTarget } from "./target.ts";
import { unavailable } from "./unavailable.ts";

export interface UpgradeNeeds {
  readonly log: Log;
  readonly servers: Servers;
  readonly connections: Connections;
}

export interface UpgradeLimits {
  readonly region: string;
  readonly maxPassages: number;
  readonly upgradeTimeoutMs: number;
  readonly lingerMs: number;
}

export interface Upgrades {
  readonly size: number;
  take(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    context: PassThroughContext,
    others: number,
  ): void;
  close(): void;
}

const maxRefusalBytes = 64 * 1024;
const refusalLingerMs = 1_000;
const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; // RFC 6455 §1.3
const keyPattern = /^[A-Za-z0-9+/]{22}==$/;

const acceptOf = (key: string): string =>
  createHash("sha1")
    .update(key + guid)
    .digest("base64");

const bad = (text: string): GatewayError => new GatewayError("bad_request", { text });

const isForeign = ({ headers }: IncomingMessage, authority: string): boolean => {
  if (headers.origin === undefined) return false;
  const named = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i.exec(headers.origin)?.[1];
  return named?.toLowerCase() !== authority.toLowerCase();
};

/** What makes it a WebSocket that may be passed on; the key. Throws. */
const checkUpgrade = (request: IncomingMessage, authority: string): string => {
  const { headers, method } = request;
  if (method !== "GET") throw new GatewayError("invalid_method");
  if (headers.upgrade?.trim().toLowerCase() !== "websocket")
    throw bad("only WebSockets are spoken here");
  if (headers["sec-websocket-version"] !== "13") throw bad("Sec-WebSocket-Version must be 13");
  const key = headers["sec-websocket-key"] ?? "";
  if (!keyPattern.test(key)) throw bad("Sec-WebSocket-Key must be 16 bytes in base64");
  if (headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0)
    throw bad("an upgrade must not have a body");
  if (isForeign(request, authority)) throw new GatewayError("forbidden_origin");
  return key;
};

/** Writes a plain answer on a socket and lets it go; what still comes is not looked at. */
const answerAndClose = (
  socket: Duplex,
  status: number,
  headers: Iterable<readonly [string, string]>,
  body: Buffer | string,
): void => {
  if (socket.destroyed) return;
  const lines = [...headers].map(([name, value]) => `${name}: ${value}\r\n`).join("");
  const length = Buffer.byteLength(body);
  const head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? "Unknown"}\r\n${lines}Content-Length: ${length}\r\nConnection: close\r\n\r\n`;
  const linger = setTimeout(() => socket.destroy(), refusalLingerMs);
  socket.once("close", () => clearTimeout(linger));
  socket.resume();
  socket.end(Buffer.concat([Buffer.from(head, "latin1"), Buffer.from(body)]));
};

/** Refuses an upgrade on its socket. */
export const refuseSocket = (socket: Duplex, error: GatewayError, requestId: string): void => {
  if (error.code === "client_closed") {
    socket.destroy();
    return;
  }
  const headers: [string, string][] = [
    ["Content-Type", "text/plain; charset=utf-8"],
    ["X-Content-Type-Options", "nosniff"],
    ["X-Request-Id", requestId],
    ["X-Serai-Error", error.code],
  ];
  if (error.retryable) headers.push(["Retry-After", "1"]);
  answerAndClose(socket, error.status, headers, error.words);
};

type Opened =
  | { readonly kind: "open"; readonly head: Buffer }
  | { readonly kind: "refused"; readonly answer: IncomingMessage };

const checkSwitch = ({ statusCode, headers }: IncomingMessage, key: string): void => {
  const isProper =
    statusCode === 101 &&
    headers.upgrade?.toLowerCase() === "websocket" &&
    headers["sec-websocket-accept"] === acceptOf(key) &&
    headers["sec-websocket-extensions"] === undefined &&
    headers["sec-websocket-protocol"] === undefined;
  if (!isProper) throw invalidAnswer("not a proper upgrade");
};

/** Asks for the upgrade on a connection of its own. */
const open = (
  upstream: Duplex,
  path: string,
  headers: Readonly<Record<string, string>>,
  key: string,
): Promise<Opened> =>
  new Promise((resolve, reject) => {
    // http.request takes any Duplex; its types know net.Socket alone
    const createConnection = (): never => upstream as never;
    const asked = ask({ method: "GET", path, headers, createConnection });
    asked.once("error", reject);
    asked.on("error", () => undefined);
    asked.once("close", () => reject(invalidAnswer("it closed without an answer")));
    asked.once("response", (answer) => {
      answer.on("error", () => undefined);
      resolve({ kind: "refused", answer });
    });
    asked.once("upgrade", (answer, _socket, head) => {
      try {
        checkSwitch(answer, key);
        resolve({ kind: "open", head });
      } catch (error) {
        reject(error);
      }
    });
    asked.end();
  });

/** Both halves to their ends; the first error ends both, and a half that outlives the other has a bound. */
const bridge = async (
  caller: Duplex,
  server: Duplex,
  lingerMs: number,
  ...between: readonly Duplex[]
): Promise<void> => {
  let linger: NodeJS.Timeout | undefined;
  const destroyBoth = (): void => {
    caller.destroy();
    server.destroy();
  };
  const half = async (...way: readonly Duplex[]): Promise<void> => {
    await pipeline(way);
    linger ??= setTimeout(destroyBoth, lingerMs);
  };
  try {
    await Promise.all([half(caller, ...between, server), half(server, caller)]);
  } finally {
    clearTimeout(linger);
    destroyBoth();
  }
};

/** A close frame, in one small write: nothing else was written since the 101. */
const sayGoodbye = (socket: Duplex, error: GatewayError): void => {
  const { code, reason } = toClose(error);
  const words = Buffer.from(reason);
  socket.write(Buffer.from([0x88, words.length + 2, code >> 8, code & 0xff, ...words]));
};

/** What stands between caller and server while the first message may be a token that no server should see. */
const guardOf = (socket: Duplex, { checkFirst }: PassThroughContext): readonly Duplex[] => {
  if (checkFirst === undefined) return [];
  const guard = firstMessage(checkFirst);
  guard.once("error", (error) => sayGoodbye(socket, toGatewayError(error)));
  return [guard];
};

const copyRefusal = async (
  socket: Duplex,
  answer: IncomingMessage,
  origin: string,
  requestId: string,
): Promise<void> => {
  const { status, headers } = toCaller(answer, origin, true);
  const body = await readBounded(answer, maxRefusalBytes, () =>
    invalidAnswer("too long a refusal"),
  );
  const pairs = [...headers].flatMap(([name, values]) =>
    values.map((value) => [name, value] as const),
  );
  answerAndClose(socket, status, [...pairs, ["X-Request-Id", requestId]], body);
};

export const createUpgrades = (
  { log, servers, connections }: UpgradeNeeds,
  { region, maxPassages, upgradeTimeoutMs, lingerMs }: UpgradeLimits,
): Upgrades => {
  const live = new Set<AbortController>();

  const dial = async (signal: AbortSignal): Promise<{ origin: string; upstream: Duplex }> => {
    let cause: unknown;
    for (const origin of inTurn(servers))
      try {
        return { origin, upstream: await connections.dial(origin, signal) };
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof Undialled)) throw error;
        cause = error.cause;
        servers.failed(origin);
        log.warn({ origin, err: cause }, "a Nomad server cannot be reached");
      }
    throw unavailable(cause);
  };

  const converse = async (
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    context: PassThroughContext,
    signal: AbortSignal,
  ): Promise<void> => {
    const { path, kind } = readPassTarget(request.url ?? "", region);
    if (kind !== "action") throw bad("no such socket");
    const key = checkUpgrade(request, context.client.authority);
    const { origin, upstream } = await dial(signal);
    upstream.on("error", () => undefined);
    const deadline = new AbortController();
    const limit = `${upgradeTimeoutMs / 1000} s`;
    const late = setTimeout(
      () => deadline.abort(new GatewayError("upstream_timeout", { peer, limit })),
      upgradeTimeoutMs,
    );
    const wanted = AbortSignal.any([signal, deadline.signal]);
    const leave = (): void => {
      upstream.destroy(wanted.reason);
    };
    wanted.addEventListener("abort", leave, { once: true });
    try {
      const headers = {
        ...toServer(request, context, false),
        host: new URL(origin).host,
        connection: "Upgrade",
        upgrade: "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": key,
      };
      const opened = await open(upstream, path, headers, key);
      if (opened.kind === "refused")
        return await copyRefusal(socket, opened.answer, origin, context.requestId);
      clearTimeout(late);
      const accept = `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptOf(key)}\r\n\r\n`;
      socket.unshift(head);
      upstream.unshift(opened.head);
      if (!socket.write(accept)) await once(socket, "drain", { signal });
      await bridge(socket, upstream, lingerMs, ...guardOf(socket, context));
    } catch (error) {
      throw named(error, wanted);
    } finally {
      clearTimeout(late);
      wanted.removeEventListener("abort", leave);
      upstream.destroy();
    }
  };

  const run = async (
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    context: PassThroughContext,
    signal: AbortSignal,
  ): Promise<void> => {
    const before = "bytesWritten" in socket ? socket.bytesWritten : 0;
    try {
      await converse(request, socket, head, context, signal);
    } catch (thrown) {
      const error = toGatewayError(thrown, signal);
      log.debug(
        { id: context.requestId, code: error.code, err: thrown },
        "a socket to the servers ended",
      );
      const isUntouched = "bytesWritten" in socket && socket.bytesWritten === before;
      if (isUntouched && !socket.destroyed) refuseSocket(socket, error, context.requestId);
      else socket.destroy();
    }
  };

  return {
    get size() {
      return live.size;
    },
    take(request, socket, head, context, others) {
      const gone = new AbortController();
      const signal = AbortSignal.any([context.signal, gone.signal]);
      socket.on("error", (err) => log.debug({ id: context.requestId, err }, "socket error"));
      socket.once("close", () => gone.abort(new GatewayError("client_closed")));
      if (live.size + others >= maxPassages) {
        refuseSocket(
          socket,
          new GatewayError("overloaded", { peer: "the gateway" }),
          context.requestId,
        );
        return;
      }
      live.add(gone);
      void run(request, socket, head, context, signal).finally(() => live.delete(gone));
    },
    close() {
      for (const gone of live) gone.abort(new GatewayError("draining"));
    },
  };
};
