/**
 * WebSocket upgrades: only on the rows that are WebSockets, with Nomad's refusals before the 101 (nomad-http.md §7.1).
 * After it every refusal is a close frame, and the exchange takes the same journey as any other.
 */
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import type { WebSocket } from "ws";
import { toClose } from "../answer.ts";
import { decodeCommand } from "../bodies.ts";
import { GatewayError, toGatewayError } from "../errors.ts";
import { readCredential } from "../http/credential.ts";
import { createExecSockets, isTooLong } from "../http/exec-sockets.ts";
import { shakenCredential, wantsHandshake } from "../http/handshake.ts";
import { isOwnOrigin, refuseUpgrade, type UpgradeRefusal, upgradeFault } from "../http/upgrade.ts";
import { Counts } from "../lib/counts.ts";
import { execParameters, one } from "../parameters.ts";
import type { Credential, Exchange, Tally } from "../ports.ts";
import { clientOf } from "./client.ts";
import type { EdgeNeeds, EdgeOptions } from "./edge.ts";
import { newExchange, newTally } from "./exchange.ts";
import { type Match, matchRow } from "./exec-match.ts";
import { checkRequest } from "./guards.ts";
import { type HeldMessages, holdMessages } from "./held-messages.ts";
import { checkRegion } from "./region.ts";

export interface UpgradeOptions extends EdgeOptions {
  readonly maxMessageBytes: number;
  readonly handshakeTimeoutMs: number;
  readonly maxHandshakeBytes: number;
  /** Sockets of one address that have not shown their token yet. */
  readonly maxUnauthenticatedPerAddress: number;
}

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

const crowded: Refusal = {
  status: 503,
  words: "too many sockets of this address wait for their token",
};

/** One socket while it is here; `exchange` is filled when its token and parameters are known. */
interface Visit {
  readonly id: string;
  readonly match: Match;
  readonly client: Exchange["client"];
  readonly socket: WebSocket;
  readonly held: HeldMessages;
  readonly startedAtMs: number;
  readonly tally: Tally;
  /** Aborts when the socket closes, or is closed for a message that is too long. */
  readonly gone: AbortSignal;
  exchange: Exchange | undefined;
}

const toExchange = (visit: Visit, credential: Credential, region: string): Exchange => {
  const { id, match, client, socket, held, startedAtMs, tally, gone } = visit;
  const { route, key, raw } = match;
  const { task, command, tty } = execParameters(raw, decodeCommand);
  checkRegion(one(raw, "region"), region);
  const exchange = newExchange({
    id,
    route,
    method: "GET",
    key,
    raw,
    parameters: { task, command, tty },
    pretty: false,
    body: undefined,
    credential,
    client,
    wire: { kind: "websocket", socket, takeHeld: held.take },
    startedAtMs,
    tally,
  });
  const left = (): void => exchange.end(toGatewayError(gone.reason));
  gone.addEventListener("abort", left, { once: true });
  if (gone.aborted) left();
  return exchange;
};

/** What went wrong before the socket closed is the reason, though by then its close has ended the exchange as well. */
const reasonOf = (thrown: unknown, { exchange, gone }: Visit): GatewayError =>
  thrown instanceof GatewayError ? thrown : toGatewayError(thrown, exchange?.signal ?? gone);

const dismiss = ({ socket, held }: Visit, error: GatewayError): void => {
  const { code, reason } = toClose(error);
  held.take(); // what comes now is not wanted, and a paused socket would not see the answer to its close
  if (error.code !== "client_closed") socket.close(code, reason);
};

export type UpgradeListener = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

export const createUpgrade = (needs: EdgeNeeds, options: UpgradeOptions): UpgradeListener => {
  const { maxMessageBytes } = options;
  const limit = `${maxMessageBytes / 1024} KiB (limits.exec_message)`;
  const sockets = createExecSockets({ maxMessageBytes, limit, clientTracking: false });
  const strangers = new Counts();

  /** The token of the first message; until it came the socket counts as a stranger of its address. */
  const shakeHands = async (visit: Visit, header: Credential): Promise<Credential> => {
    const { address } = visit.client;
    strangers.add(address);
    const late = new AbortController();
    const timer = setTimeout(
      () => late.abort(new GatewayError("handshake_timeout")),
      options.handshakeTimeoutMs,
    );
    try {
      const message = await visit.held.next(AbortSignal.any([visit.gone, late.signal]));
      return shakenCredential(message, header, options.maxHandshakeBytes);
    } finally {
      clearTimeout(timer);
      strangers.remove(address);
    }
  };

  const travel = async (visit: Visit, header: Credential): Promise<void> => {
    const credential = wantsHandshake(visit.match.raw) ? await shakeHands(visit, header) : header;
    visit.exchange = toExchange(visit, credential, needs.region);
    await needs.travel(visit.exchange);
  };

  const depart = (visit: Visit, error: GatewayError | undefined): void => {
    const { id, match, client, tally, exchange, startedAtMs } = visit;
    needs.ended({
      id,
      method: "GET",
      route: match.route,
      exchange,
      status: error?.status ?? 101,
      error,
      tally,
      durationMs: performance.now() - startedAtMs,
      client,
    });
  };

  const converse = async (
    socket: WebSocket,
    request: IncomingMessage,
    match: Match,
  ): Promise<void> => {
    const gone = new AbortController();
    const visit: Visit = {
      id: needs.nextId(),
      match,
      client: clientOf(request, options.isTrustedProxy),
      socket,
      held: holdMessages(socket),
      startedAtMs: performance.now(),
      tally: newTally(),
      gone: gone.signal,
      exchange: undefined,
    };
    socket.on("error", (err) => {
      needs.log.debug({ id: visit.id, err }, "websocket error");
      if (isTooLong(err)) gone.abort(new GatewayError("message_too_large", { limit }));
    });
    socket.once("close", () => gone.abort(new GatewayError("client_closed")));
    needs.started(match.route);
    let error: GatewayError | undefined;
    try {
      await travel(visit, readCredential(request, visit.client.address));
    } catch (thrown) {
      error = reasonOf(thrown, visit);
      dismiss(visit, error);
    }
    depart(visit, error);
  };

  /** A refusal before the 101 is counted, logged and audited as any other. */
  const refuse = (
    request: IncomingMessage,
    socket: Duplex,
    refusal: Refusal,
    match?: Match,
  ): void => {
    const id = needs.nextId();
    const error = errorOf(refusal);
    needs.started(match?.route);
    refuseUpgrade(socket, refusal, { "X-Request-Id": id, "X-Serai-Error": error.code });
    needs.ended({
      id,
      method: request.method ?? "",
      route: match?.route,
      key: match?.key,
      exchange: undefined,
      status: refusal.status,
      error,
      tally: newTally(),
      durationMs: 0,
      client: clientOf(request, options.isTrustedProxy),
    });
  };

  /** Why an upgrade on a row is refused; undefined when it may go on. */
  const refusalOf = (request: IncomingMessage, { raw }: Match): Refusal | undefined => {
    const { address, authority } = clientOf(request, options.isTrustedProxy);
    const fault = upgradeFault(request, isOwnOrigin(request, authority, options.allowedOrigins));
    if (fault !== undefined || !raw.has("ws_handshake")) return fault;
    if (strangers.of(address) < options.maxUnauthenticatedPerAddress) return undefined;
    needs.limited?.("handshakes_per_address");
    return crowded;
  };

  return (request, socket, head) => {
    socket.on("error", (err) => needs.log.debug({ err }, "socket error during an upgrade"));
    let match: Match | undefined;
    try {
      checkRequest(request);
      readCredential(request);
      const matched = matchRow(request.url ?? "");
      if (matched === undefined) throw new GatewayError("bad_request", { text: "no such socket" });
      match = matched;
      const refusal = refusalOf(request, matched);
      if (refusal !== undefined) refuse(request, socket, refusal, matched);
      else
        sockets.handleUpgrade(
          request,
          socket,
          head,
          (webSocket) => void converse(webSocket, request, matched),
        );
    } catch (thrown) {
      refuse(request, socket, { status: 400, words: toGatewayError(thrown).words }, match);
    }
  };
};
