/**
 * What the gateway does not carry itself goes to Nomad's servers as it came, and their answers come back as they are: by
 * http-proxy-middleware for the request, with our own rules for connections, headers, errors and ends.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { createProxyMiddleware, type Plugin, type RequestHandler } from "http-proxy-middleware";
import { GatewayError } from "../../errors.ts";
import { originsInTurn, type Servers, type ServersOptions } from "../../nomad/servers.ts";
import type { Closer, Log } from "../../ports.ts";
import { createConnections } from "./connections.ts";
import { peer } from "./faults.ts";
import { toServer } from "./headers.ts";
import { type Limits, type Outcome, Passage, type PassThroughContext } from "./passage.ts";
import { isSocket, type PassTarget, readPassTarget } from "./target.ts";
import { unavailable } from "./unavailable.ts";
import { createUpgrades } from "./upgrade.ts";

export interface PassThroughNeeds {
  readonly log: Log;
  readonly servers: Servers;
}

export interface PassThroughOptions extends Partial<Limits> {
  /** `/v1/node/:id` gives the authority and scheme that the caller used. */
  readonly mask: boolean;
  readonly maxMaskedBytes: number;
  /** The gateway's own; `region=global`, which SDKs add, is dropped when it is another. */
  readonly region: string;
  readonly tls: ServersOptions["tls"];
  readonly connectTimeoutMs?: number;
  /** Requests and sockets passed through at one time. */
  readonly maxPassages?: number;
  /** Milliseconds until a server has answered an upgrade. */
  readonly upgradeTimeoutMs?: number;
  /** Milliseconds the second half of a socket may outlive the first. */
  readonly lingerMs?: number;
}

export interface PassThrough extends Closer {
  /** Resolves when the caller has the whole answer. Rejects with a GatewayError; a caller that had a head was cut. */
  http(
    request: IncomingMessage,
    response: ServerResponse,
    context: PassThroughContext,
  ): Promise<void>;
  /**
   * Takes the socket of an upgrade; resolves with the status of its answer when it is over. Rejects with a GatewayError;
   * a socket that nothing was written to is then the caller's to refuse, any other is destroyed.
   */
  upgrade(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    context: PassThroughContext,
  ): Promise<number>;
}

/** True for a target that may become a WebSocket at the servers. */
export const isSocketTarget = (url: string): boolean => {
  try {
    return isSocket(readPassTarget(url, "").kind);
  } catch {
    return false; // refused as a request
  }
};

interface Asking {
  readonly passage: Passage;
  readonly request: IncomingMessage;
  readonly headers: Readonly<Record<string, string>>;
}

const defaults = {
  headMs: 345_000,
  uploadIdleMs: 60_000,
  stallMs: 600_000,
  eventSilenceMs: 45_000,
  documentSilenceMs: 60_000,
  connectTimeoutMs: 2_000,
  maxPassages: 8_192,
  upgradeTimeoutMs: 10_000,
  lingerMs: 5_000,
};

export const createPassThrough = (
  { log, servers }: PassThroughNeeds,
  options: PassThroughOptions,
): PassThrough => {
  const limits = { ...defaults, ...options };
  const { connectTimeoutMs, tls, maxPassages, region } = limits;
  const connections = createConnections({ connectTimeoutMs, tls });
  const live = new Set<Passage>();
  const byStandIn = new WeakMap<ServerResponse, Passage>();

  /** All that the proxy tells; its own plugins answer in their own words and are left out. */
  const events: Plugin<IncomingMessage, ServerResponse> = (proxy) => {
    const passageOf = (standIn: unknown): Passage | undefined =>
      standIn instanceof Object ? byStandIn.get(standIn as ServerResponse) : undefined; // any object may be a key
    proxy.on("error", (error, _request, standIn) => {
      const passage = passageOf(standIn);
      if (passage) passage.onError(error);
      else log.debug({ err: error }, "an error of no passage");
    });
    proxy.on("econnreset", (error, _request, standIn) => passageOf(standIn)?.onError(error));
    proxy.on("proxyReq", (upstream, _request, standIn) => passageOf(standIn)?.onDialled(upstream));
    proxy.on("proxyRes", (answer, _request, standIn) => passageOf(standIn)?.onAnswer(answer));
  };

  const createProxy = (origin: string): RequestHandler =>
    createProxyMiddleware<IncomingMessage, ServerResponse>({
      target: origin,
      agent: connections.agentFor(origin),
      ejectPlugins: true,
      plugins: [events],
      selfHandleResponse: true,
      proxyTimeout: limits.headMs,
      upgradeTimeout: limits.upgradeTimeoutMs,
      xfwd: false,
      secure: true,
      // the target goes as it came, past the proxy's own reading of paths
      pathRewrite: (_path, _request, standIn) =>
        standIn === undefined ? undefined : byStandIn.get(standIn)?.target.path,
    });
  const proxies = new Map(servers.addresses.map((origin) => [origin, createProxy(origin)]));

  /** What is read here, or goes on at once, comes in no coding. */
  const codingOf = ({ kind }: PassTarget): Readonly<Record<string, string>> =>
    kind === "events" || (kind === "node" && limits.mask) ? { "accept-encoding": "identity" } : {};

  /** Asks one server; a read whose kept connection had died is asked once more. */
  const ask = async (
    { passage, request, headers }: Asking,
    origin: string,
  ): Promise<Exclude<Outcome, { kind: "lost" }>> => {
    const proxy = proxies.get(origin);
    if (proxy === undefined) throw new GatewayError("internal", { reason: "no such server" });
    const once = (): Promise<Outcome> => {
      request.headers = { ...headers, host: new URL(origin).host };
      request.url = "/"; // the proxy takes the target from the passage
      return passage.attempt(origin, async (standIn) => {
        byStandIn.set(standIn, passage);
        // it calls on when it would not or could not ask
        await proxy(request, standIn, (error) => passage.onError(error));
      });
    };
    const first = await once();
    if (first.kind !== "lost") return first;
    connections.endIdle(origin);
    const outcome = await once();
    if (outcome.kind === "lost") throw new GatewayError("upstream_broke", { peer });
    return outcome;
  };

  /** Asks one server after the other until one could be dialled. */
  const travel = async (asking: Asking): Promise<void> => {
    let cause: unknown;
    for (const origin of originsInTurn(servers)) {
      const outcome = await ask(asking, origin);
      if (outcome.kind === "answered") return;
      cause = outcome.cause;
      servers.failed(origin);
      log.warn({ origin, err: cause }, "a Nomad server cannot be reached");
    }
    throw unavailable(cause);
  };

  const upgrades = createUpgrades({ log, servers, connections }, limits);

  return {
    http: async (request, response, context) => {
      const target = readPassTarget(request.url ?? "", region);
      if (live.size + upgrades.size >= maxPassages)
        throw new GatewayError("overloaded", { peer: "the gateway" });
      const own = { url: request.url, headers: request.headers };
      const headers = { ...toServer(request, context), ...codingOf(target) };
      const passage = new Passage(request, response, context, target, limits);
      live.add(passage);
      try {
        passage.start();
        await travel({ passage, request, headers });
      } finally {
        passage.stop();
        live.delete(passage);
        Object.assign(request, own);
      }
    },
    upgrade: (request, socket, head, context) =>
      upgrades.take(request, socket, head, context, live.size),
    close: async () => {
      for (const passage of live) passage.end(new GatewayError("draining"));
      upgrades.close();
      connections.close();
    },
  };
};
