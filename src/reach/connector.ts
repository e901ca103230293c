/**
 * Opens connections to one node: the address is judged, and the judged address is the one that is dialled. Every failure
 * is `node_unreachable` with the node's name and a reason.
 */
import { lookup as lookupName } from "node:dns";
import { connect as connectTcp, isIP, type LookupFunction, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";
import { type Facts, GatewayError, toGatewayError } from "../errors.ts";
import { ConnectionLost } from "../upstream/connection.ts";
import type { Intake } from "../upstream/intake.ts";
import type { HostPort, Policy } from "./address.ts";
import { isTlsFault } from "./reasons.ts";
import { createSecure } from "./secure.ts";
import type { Step, Trail } from "./trail.ts";

/** Who is dialled. */
export interface Peer {
  /** What refusals call it. */
  readonly named: Pick<Facts, "node" | "peer">;
  readonly tls: boolean;
}

/** Client side of TLS to nodes, as it is now; verification cannot be turned off here. */
export interface TlsOptions {
  readonly ca: string | readonly string[] | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  /** `client.<region>.nomad`; undefined takes the address's host. */
  readonly servername: string | undefined;
}

export interface ConnectorOptions {
  readonly policy: Pick<Policy, "fault">;
  readonly connectTimeoutMs: number;
  readonly tls: TlsOptions | undefined;
  /** Told how long it took to connect. */
  readonly dialled?: (durationMs: number) => void;
  /** Told of each connection, and of each failure. */
  readonly trail?: Trail | undefined;
}

export type Callback = (error: Error | null, socket: Socket | TLSSocket | null) => void;

export interface Connector {
  /**
   * Calls back once. Returns how to give up, after which it does not call back. With an intake all that the connection reads
   * goes there, and it is no stream to read from.
   */
  connect(callback: Callback, intake?: Intake): () => void;
}

/** A resolver that gives no address which the policy refuses. */
const checkedLookup =
  (policy: Pick<Policy, "fault">): LookupFunction =>
  (hostname, options, callback) => {
    lookupName(hostname, { ...options, all: true }, (error, found) => {
      if (error) return callback(error, "");
      const reasons = found.map(({ address }) => policy.fault(address));
      const kept = found.filter((_entry, at) => reasons[at] === undefined);
      const [first] = kept;
      if (first === undefined)
        return callback(
          new GatewayError("node_unreachable", { reason: reasons[0] ?? "its name has no address" }),
          "",
        );
      if (options.all) callback(null, kept);
      else callback(null, first.address, first.family);
    });
  };

export const tlsOptions = (tls: TlsOptions | undefined) => ({
  ...(tls?.ca === undefined ? {} : { ca: typeof tls.ca === "string" ? tls.ca : [...tls.ca] }),
  ...(tls?.cert === undefined ? {} : { cert: tls.cert }),
  ...(tls?.key === undefined ? {} : { key: tls.key }),
  ...(tls?.servername === undefined ? {} : { servername: tls.servername }),
});

/** TCP keep-alive finds a node that vanished without a word: 15 s of silence, then ten probes a second apart. */
const keepAliveDelayMs = 15_000;

export const unreachable = (error: unknown, { named }: Peer): GatewayError => {
  const unnamed = isTlsFault(error) ? "the TLS handshake failed" : "connection failed";
  const reason = toGatewayError(error).facts.reason ?? unnamed;
  return new GatewayError("node_unreachable", { ...named, reason }, { cause: error });
};

/** Hands over what a stream reads. */
export const feed = (socket: Duplex, intake: Intake): void => {
  socket.on("data", (bytes: Buffer) => {
    if (!intake.given(bytes)) socket.pause();
  });
};

const ignore = (): void => undefined;

/** Calls back once: when the socket is connected, or has failed to. A tunnel that is cut closes its connections without an error. */
export const whenConnected = (
  socket: Socket,
  event: "connect" | "secureConnect",
  callback: Callback,
): void => {
  const failed = (error: Error): void => {
    socket.off("close", closed);
    callback(error, null);
  };
  const closed = (): void => failed(new ConnectionLost("it closed before it was connected"));
  socket.once("error", failed);
  socket.once("close", closed);
  socket.once(event, () => {
    socket.on("error", ignore); // until whoever has it now listens himself
    callback(null, socket);
    socket.off("error", failed); // would hold all that belongs to the dial for as long as the socket is open
    socket.off("close", closed);
  });
};

const reasonOf = ({ facts, words }: GatewayError): string => facts.reason ?? words;

export const timedOut = (): Error =>
  Object.assign(new Error("connect timed out"), { code: "ETIMEDOUT" });

export const createConnector = (
  peer: Peer,
  { host, port }: HostPort,
  { policy, connectTimeoutMs, tls, dialled, trail }: ConnectorOptions,
): Connector => {
  const lookup = checkedLookup(policy);
  const secure = createSecure(() => ({
    host,
    port,
    lookup,
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...tlsOptions(tls),
  }));
  const dialSecure = (intake: Intake | undefined): Socket => {
    const socket = secure();
    if (intake) socket.once("secureConnect", () => feed(socket, intake));
    return socket.setNoDelay(true).setKeepAlive(true, keepAliveDelayMs);
  };
  /** Without a copy: what is read is written into the intake's own memory. */
  const dialPlain = (intake: Intake | undefined): Socket =>
    connectTcp({
      host,
      port,
      lookup,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: keepAliveDelayMs,
      ...(intake && { onread: { buffer: intake.buffer, callback: intake.came } }),
    });
  const dial = (intake: Intake | undefined, callback: Callback): Socket => {
    const socket = peer.tls ? dialSecure(intake) : dialPlain(intake);
    whenConnected(socket, peer.tls ? "secureConnect" : "connect", callback);
    return socket;
  };
  return {
    connect(callback, intake) {
      const reason = isIP(host) === 0 ? undefined : policy.fault(host);
      if (reason !== undefined) {
        const error = unreachable(new GatewayError("node_unreachable", { reason }), peer);
        trail?.failed("dial", reason);
        queueMicrotask(() => callback(error, null));
        return () => undefined;
      }
      let called = false;
      const startedMs = performance.now();
      const failed = (error: unknown, step: Step): void => {
        const refusal = unreachable(error, peer);
        trail?.failed(step, reasonOf(refusal));
        callback(refusal, null);
      };
      const done = (error: unknown, connected: Socket | TLSSocket | null, step: Step): void => {
        if (called) return;
        called = true;
        clearTimeout(timer);
        if (error !== null || connected === null) {
          failed(error, step);
          return;
        }
        dialled?.(performance.now() - startedMs);
        trail?.connected();
        callback(null, connected);
      };
      const socket = dial(intake, (error, connected) =>
        done(error, connected, isTlsFault(error) ? "TLS" : "dial"),
      );
      const timer = setTimeout(() => {
        const hasDialled = socket instanceof TLSSocket && !socket.connecting;
        socket.destroy();
        done(timedOut(), null, hasDialled ? "TLS" : "dial");
      }, connectTimeoutMs);
      return () => {
        called = true;
        clearTimeout(timer);
        socket.destroy();
      };
    },
  };
};
