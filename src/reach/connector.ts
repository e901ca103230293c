/**
 * Opens connections to one node: the address is judged, and the judged address is the one that is dialled. Every failure
 * is `node_unreachable` with the node's name and a reason.
 */
import { lookup as lookupName } from "node:dns";
import { isIP, type LookupFunction, type Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { buildConnector } from "undici";
import { GatewayError, toGatewayError } from "../errors.ts";
import type { NodeEntry } from "../ports.ts";
import type { HostPort, Policy } from "./address.ts";

/** Client side of TLS to nodes; verification cannot be turned off here. */
export interface TlsOptions {
  readonly ca: string | readonly string[] | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  /** `client.<region>.nomad`; undefined takes the address's host. */
  readonly servername: string | undefined;
}

export interface ConnectorOptions {
  readonly policy: Policy;
  readonly connectTimeoutMs: number;
  readonly tls: TlsOptions | undefined;
  /** Told how long it took to connect. */
  readonly dialled?: (durationMs: number) => void;
}

export type Callback = (error: Error | null, socket: Socket | TLSSocket | null) => void;

export interface Connector {
  /** Calls back once. Returns how to give up. */
  connect(callback: Callback): () => void;
}

/** A resolver that gives no address which the policy refuses. */
const checkedLookup =
  (policy: Policy): LookupFunction =>
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

const tlsOptions = (tls: TlsOptions | undefined) => ({
  ...(tls?.ca === undefined ? {} : { ca: typeof tls.ca === "string" ? tls.ca : [...tls.ca] }),
  ...(tls?.cert === undefined ? {} : { cert: tls.cert }),
  ...(tls?.key === undefined ? {} : { key: tls.key }),
  ...(tls?.servername === undefined ? {} : { servername: tls.servername }),
});

/** TCP keep-alive finds a node that vanished without a word: 15 s of silence, then ten probes a second apart. */
const keepAliveDelayMs = 15_000;

const unreachable = (error: unknown, node: string): GatewayError => {
  const reason = toGatewayError(error).facts.reason ?? "connection failed";
  return new GatewayError("node_unreachable", { node, reason }, { cause: error });
};

export const createConnector = (
  node: Pick<NodeEntry, "name" | "tls">,
  { host, port }: HostPort,
  { policy, connectTimeoutMs, tls, dialled }: ConnectorOptions,
): Connector => {
  const build = buildConnector({
    timeout: connectTimeoutMs,
    allowH2: false,
    lookup: checkedLookup(policy),
    keepAliveInitialDelay: keepAliveDelayMs,
    ...(node.tls ? tlsOptions(tls) : {}),
  });
  const target = {
    hostname: host,
    host: isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`,
    protocol: node.tls ? "https:" : "http:",
    port: String(port),
  };
  return {
    connect(callback) {
      const reason = isIP(host) === 0 ? undefined : policy.fault(host);
      if (reason !== undefined) {
        const error = new GatewayError("node_unreachable", { node: node.name, reason });
        queueMicrotask(() => callback(error, null));
        return () => undefined;
      }
      let called = false;
      const startedMs = performance.now();
      // undici's connector returns its socket; its type says void
      const socket: unknown = build(target, (error, connected) => {
        if (called) return;
        called = true;
        if (error) callback(unreachable(error, node.name), null);
        else {
          dialled?.(performance.now() - startedMs);
          callback(null, connected);
        }
      });
      return () => {
        if (typeof socket === "object" && socket !== null && "destroy" in socket)
          if (typeof socket.destroy === "function") socket.destroy();
      };
    },
  };
};
