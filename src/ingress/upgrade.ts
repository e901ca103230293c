/**
 * WebSocket upgrades: only on the rows that are WebSockets, with Nomad's refusals before the 101 (nomad-http.md §7.1).
 * After it every refusal is a close frame, and the exchange takes the same journey as any other.
 */
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { type RawData, type WebSocket, WebSocketServer } from "ws";
import { toClose } from "../answer.ts";
import { decodeCommand } from "../bodies.ts";
import { GatewayError, toGatewayError } from "../errors.ts";
import { readCredential } from "../http/credential.ts";
import { shakenCredential, wantsHandshake } from "../http/handshake.ts";
import {
  asksForWebSocket,
  isOwnOrigin,
  refuseUpgrade,
  type UpgradeRefusal,
  upgradeFault,
} from "../http/upgrade.ts";
import { farewell, maxFragments, toBuffer } from "../lib/web-socket.ts";
import { execParameters, one, parseQuery, type RawQuery } from "../parameters.ts";
import type { Credential, Exchange, HeldMessage, Tally } from "../ports.ts";
import { type Route, routes } from "../routes.ts";
import { clientOf } from "./client.ts";
import type { EdgeNeeds, EdgeOptions } from "./edge.ts";
import { newExchange, newTally } from "./exchange.ts";
import { checkRequest } from "./guards.ts";
import { checkRegion } from "./parse.ts";
import { readTarget } from "./target.ts";

export interface UpgradeOptions extends EdgeOptions {
  readonly maxMessageBytes: number;
  readonly handshakeTimeoutMs: number;
  readonly maxHandshakeBytes: number;
  /** Sockets of one address that have not shown their token yet. */
  readonly maxUnauthenticatedPerAddress: number;
}

const rows = routes.filter(({ carriage }) => carriage === "websocket");

interface Match {
  readonly route: Route;
  readonly key: string;
  readonly raw: RawQuery;
}

const matchRow = (url: string): Match | undefined => {
  const target = readTarget(url);
  if (target.kind === "redirect") return undefined;
  const segments = target.path.split("/");
  for (const route of rows) {
    const template = route.path.split("/");
    if (template.length !== segments.length) continue;
    const at = template.indexOf(":id");
    if (template.every((part, index) => index === at || part === segments[index]))
      return { route, key: decodeURIComponent(segments[at] ?? ""), raw: parseQuery(target.query) };
  }
  return undefined;
};

/** For node:http's `shouldUpgradeCallback`: any other upgrade is ignored and answered as plain HTTP, as Nomad does. */
export const isExecUpgrade = (request: IncomingMessage): boolean => {
  if (!asksForWebSocket(request)) return false;
  try {
    return matchRow(request.url ?? "") !== undefined;
  } catch {
    return false; // a bad target is refused by the edge, in HTTP
  }
};

interface Refusal extends UpgradeRefusal {
  readonly status: 400 | 403 | 405 | 503;
}

/** What the log, the metrics and the audit call it. */
const errorOf = ({ status, words }: Refusal): GatewayError => {
  switch (status) {
    case 400:
      return new GatewayError("bad_request", { text: words });
    case 403:
      return new GatewayError("forbidden_origin");
    case 405:
      return new GatewayError("invalid_method");
    case 503:
      return new GatewayError("overloaded");
  }
};

/** Keeps messages until somebody listens; beyond its bound the socket is paused, and nothing is lost. */
const hold = (
  socket: WebSocket,
): {
  readonly first: (signal: AbortSignal) => Promise<Buffer>;
  readonly takeHeld: () => readonly HeldMessage[];
} => {
  const held: HeldMessage[] = [];
  let wake: (() => void) | undefined;
  const keep = (data: RawData, isBinary: boolean): void => {
    held.push({ data: toBuffer(data), isBinary });
    socket.pause(); // frames of the same chunk still come, and are kept
    wake?.();
  };
  socket.on("message", keep);
  return {
    first: async (signal) => {
      if (held.length === 0)
        await new Promise<void>((resolve) => {
          wake = resolve;
          signal.addEventListener("abort", () => resolve(), { once: true });
        });
      signal.throwIfAborted();
      return held.shift()?.data ?? Buffer.alloc(0);
    },
    takeHeld: () => {
      socket.off("message", keep);
      socket.resume();
      return held.splice(0);
    },
  };
};

export type UpgradeListener = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

export const createUpgrade = (needs: EdgeNeeds, options: UpgradeOptions): UpgradeListener => {
  const sockets = new WebSocketServer({
    ...farewell,
    noServer: true,
    maxPayload: options.maxMessageBytes,
    maxFragments,
    perMessageDeflate: false,
    handleProtocols: () => false,
    clientTracking: false,
  });
  const unauthenticated = new Map<string, number>();

  const change = (address: string, by: 1 | -1): void => {
    const now = (unauthenticated.get(address) ?? 0) + by;
    if (now > 0) unauthenticated.set(address, now);
    else unauthenticated.delete(address);
  };

  const credentialOf = async (
    socket: WebSocket,
    held: ReturnType<typeof hold>,
    header: Credential,
    {
      raw,
      address,
      gone,
    }: { readonly raw: RawQuery; readonly address: string; readonly gone: AbortSignal },
  ): Promise<Credential> => {
    if (!wantsHandshake(raw)) return header;
    change(address, 1);
    const late = new AbortController();
    const timer = setTimeout(
      () => late.abort(new GatewayError("handshake_timeout")),
      options.handshakeTimeoutMs,
    );
    try {
      const message = await held.first(AbortSignal.any([gone, late.signal]));
      return shakenCredential(message, header, options.maxHandshakeBytes);
    } finally {
      clearTimeout(timer);
      change(address, -1);
      if (socket.isPaused) socket.resume();
    }
  };

  const converse = async (
    socket: WebSocket,
    request: IncomingMessage,
    match: Match,
  ): Promise<void> => {
    const { route, key, raw } = match;
    const startedAtMs = performance.now();
    const tally: Tally = newTally();
    const client = clientOf(request, options.isTrustedProxy);
    const id = needs.nextId();
    const gone = new AbortController();
    const held = hold(socket);
    needs.started(route);
    let exchange: Exchange | undefined;
    let error: GatewayError | undefined;
    socket.on("error", (cause) => needs.log.debug({ id, err: cause }, "websocket error"));
    socket.once("close", () => gone.abort(new GatewayError("client_closed")));
    try {
      const credential = await credentialOf(socket, held, readCredential(request), {
        raw,
        address: client.address,
        gone: gone.signal,
      });
      const { task, command, tty } = execParameters(raw, decodeCommand);
      checkRegion(one(raw, "region") || undefined, needs.region);
      const wire = { kind: "websocket", socket, takeHeld: held.takeHeld } as const;
      const facts = {
        id,
        route,
        method: "GET",
        key,
        raw,
        credential,
        client,
        wire,
        startedAtMs,
        pretty: false,
      };
      exchange = newExchange({ ...facts, parameters: { task, command, tty }, body: undefined });
      const { end } = exchange;
      gone.signal.addEventListener("abort", () => end(new GatewayError("client_closed")), {
        once: true,
      });
      if (gone.signal.aborted) end(new GatewayError("client_closed"));
      await needs.travel(exchange, tally);
    } catch (thrown) {
      // what went wrong before the socket closed is the reason, though by now the close has ended the exchange as well
      error =
        thrown instanceof GatewayError
          ? thrown
          : toGatewayError(thrown, exchange?.signal ?? gone.signal);
      const { code, reason } = toClose(error);
      held.takeHeld(); // what comes now is not wanted, and a paused socket would not see the answer to its close
      if (error.code !== "client_closed") socket.close(code, reason);
    }
    const status = error?.status ?? 101;
    const durationMs = performance.now() - startedAtMs;
    needs.ended({ id, method: "GET", route, exchange, status, error, tally, durationMs, client });
  };

  /** A refusal before the 101 is counted, logged and audited as any other. */
  const refuse = (
    request: IncomingMessage,
    socket: Duplex,
    match: Match | undefined,
    refusal: Refusal,
  ): void => {
    const id = needs.nextId();
    const error = errorOf(refusal);
    const client = clientOf(request, options.isTrustedProxy);
    const { method = "" } = request;
    const { status } = refusal;
    needs.started(match?.route);
    refuseUpgrade(socket, refusal, { "X-Request-Id": id, "X-Serai-Error": error.code });
    needs.ended({
      id,
      method,
      route: match?.route,
      key: match?.key,
      exchange: undefined,
      status,
      error,
      tally: newTally(),
      durationMs: 0,
      client,
    });
  };

  return (request, socket, head) => {
    socket.on("error", (err) => needs.log.debug({ err }, "socket error during an upgrade"));
    let match: Match | undefined;
    try {
      checkRequest(request);
      readCredential(request);
      match = matchRow(request.url ?? "");
      const client = clientOf(request, options.isTrustedProxy);
      const fault = upgradeFault(
        request,
        isOwnOrigin(request, client.authority, options.allowedOrigins),
      );
      if (match === undefined || fault !== undefined) {
        refuse(request, socket, match, fault ?? { status: 400, words: "not a WebSocket route" });
        return;
      }
      const isCrowded =
        match.raw.has("ws_handshake") &&
        (unauthenticated.get(client.address) ?? 0) >= options.maxUnauthenticatedPerAddress;
      if (isCrowded) {
        needs.limited?.("handshakes_per_address");
        const words = "too many sockets of this address wait for their token";
        refuse(request, socket, match, { status: 503, words });
        return;
      }
      const matched = match;
      sockets.handleUpgrade(
        request,
        socket,
        head,
        (webSocket) => void converse(webSocket, request, matched),
      );
    } catch (thrown) {
      refuse(request, socket, match, { status: 400, words: toGatewayError(thrown).words });
    }
  };
};
