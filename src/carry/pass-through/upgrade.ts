/**
 * The WebSockets of the servers: a job's action, and an exec in another region. Only a checked 101 makes a bridge; every
 * other answer is copied as far as its bound and both sides are closed. Not by the proxy: it writes a 101 unchecked, and
 * its pipes leave one half open when the other breaks.
 */
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { GatewayError } from "../../errors.ts";
import { answerLast } from "../../lib/last-answer.ts";
import { readBounded } from "../../lib/read-bounded.ts";
import { originsInTurn, type Servers } from "../../nomad/servers.ts";
import type { Log } from "../../ports.ts";
import { type BridgeLimits, bridge } from "./bridge.ts";
import { type Connections, Undialled } from "./connections.ts";
import { invalidAnswer, named, peer } from "./faults.ts";
import { firstMessage } from "./first-message.ts";
import { acceptOf, bad, checkUpgrade, open } from "./handshake.ts";
import { toCaller, toServer } from "./headers.ts";
import type { PassThroughContext } from "./passage.ts";
import { isSocket, readPassTarget } from "./target.ts";
import { unavailable } from "./unavailable.ts";

export interface UpgradeNeeds {
  readonly log: Log;
  readonly servers: Servers;
  readonly connections: Connections;
}

export interface UpgradeLimits extends BridgeLimits {
  readonly region: string;
  readonly maxPassages: number;
  readonly upgradeTimeoutMs: number;
}

export interface Upgrades {
  readonly size: number;
  /**
   * Resolves with the status of the answer when its socket is over. Rejects with a GatewayError: what has not been
   * answered then is not destroyed, and the caller's to refuse.
   */
  take(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    context: PassThroughContext,
    others: number,
  ): Promise<number>;
  close(): void;
}

const maxRefusalBytes = 64 * 1024;
const switching = 101;

const copyRefusal = async (
  socket: Duplex,
  answer: IncomingMessage,
  origin: string,
  requestId: string,
): Promise<number> => {
  const { status, headers } = toCaller(answer, origin, true);
  const body = await readBounded(answer, maxRefusalBytes, () =>
    invalidAnswer("too long a refusal"),
  );
  const pairs = [...headers].flatMap(([name, values]) =>
    values.map((value) => [name, value] as const),
  );
  answerLast(socket, status, [...pairs, ["X-Request-Id", requestId]], body);
  return status;
};

/** What the server is asked with. */
const headersFor = (
  request: IncomingMessage,
  context: PassThroughContext,
  origin: string,
  key: string,
): Readonly<Record<string, string>> => ({
  ...toServer(request, context),
  host: new URL(origin).host,
  connection: "Upgrade",
  upgrade: "websocket",
  "sec-websocket-version": "13",
  "sec-websocket-key": key,
});

const keepAliveMs = 15_000;

/** The caller's side becomes a WebSocket. */
const accept = async (socket: Duplex, key: string, signal: AbortSignal): Promise<void> => {
  if (socket instanceof Socket) socket.setKeepAlive(true, keepAliveMs).setTimeout(0);
  const answer = `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptOf(key)}\r\n\r\n`;
  try {
    if (!socket.write(answer)) await once(socket, "drain", { signal });
  } catch (error) {
    socket.destroy();
    throw error;
  }
};

/** Until it is over the connection is destroyed when the signal fires or a server takes too long; rejects with why. */
const inTime = async <T>(
  upstream: Duplex,
  signal: AbortSignal,
  limitMs: number,
  work: () => Promise<T>,
): Promise<T> => {
  const late = new AbortController();
  const limit = `${limitMs / 1000} s`;
  const timer = setTimeout(
    () => late.abort(new GatewayError("upstream_timeout", { peer, limit })),
    limitMs,
  );
  const wanted = AbortSignal.any([signal, late.signal]);
  const leave = (): void => {
    upstream.destroy(wanted.reason);
  };
  wanted.addEventListener("abort", leave, { once: true });
  if (wanted.aborted) leave();
  try {
    return await work();
  } catch (error) {
    throw named(error, wanted);
  } finally {
    clearTimeout(timer);
    wanted.removeEventListener("abort", leave);
  }
};

export const createUpgrades = (
  { log, servers, connections }: UpgradeNeeds,
  limits: UpgradeLimits,
): Upgrades => {
  const { region, maxPassages, upgradeTimeoutMs } = limits;
  const live = new Set<AbortController>();

  const dial = async (signal: AbortSignal): Promise<{ origin: string; upstream: Duplex }> => {
    let cause: unknown;
    for (const origin of originsInTurn(servers))
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
  ): Promise<number> => {
    const { path, kind } = readPassTarget(request.url ?? "", region);
    if (!isSocket(kind)) throw bad("no such socket");
    const key = checkUpgrade(request);
    const { origin, upstream } = await dial(signal);
    upstream.on("error", () => undefined);
    try {
      const headers = headersFor(request, context, origin, key);
      const opened = await inTime(upstream, signal, upgradeTimeoutMs, async () => {
        const heard = await open(upstream, path, headers, key);
        if (heard.kind === "open") return heard;
        return await copyRefusal(socket, heard.answer, origin, context.requestId);
      });
      if (typeof opened === "number") return opened;
      socket.unshift(head);
      upstream.unshift(opened.head);
      await accept(socket, key, signal);
      const guard = context.checkFirst && firstMessage(context.checkFirst);
      await bridge({ caller: socket, server: upstream, guard }, signal, context.tally, limits);
      return switching;
    } finally {
      upstream.destroy();
    }
  };

  return {
    get size() {
      return live.size;
    },
    async take(request, socket, head, context, others) {
      const gone = new AbortController();
      const signal = AbortSignal.any([context.signal, gone.signal]);
      socket.on("error", (err) => log.debug({ id: context.requestId, err }, "socket error"));
      socket.once("close", () => gone.abort(new GatewayError("client_closed")));
      if (live.size + others >= maxPassages)
        throw new GatewayError("overloaded", { peer: "the gateway" });
      live.add(gone);
      try {
        return await converse(request, socket, head, context, signal);
      } catch (error) {
        throw named(error, signal);
      } finally {
        live.delete(gone);
      }
    },
    close() {
      for (const gone of live) gone.abort(new GatewayError("draining"));
    },
  };
};
