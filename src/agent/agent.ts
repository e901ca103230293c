/** Composition root of the agent: wires its parts and owns their closing order. */
import type { SecureContextOptions } from "node:tls";
import { buildConnector, Agent as HttpAgent } from "undici";
import { createAuthenticate } from "../acl/authenticate.ts";
import { createGatewaySource } from "../acl/gateway-source.ts";
import { authorityOf } from "../lib/addresses.ts";
import type { Clock, Closer, Log } from "../ports.ts";
import { createDialler, type Dialler, type DiallerOptions } from "../tunnel/dialler.ts";
import { tunnelAddress } from "../tunnel/protocol.ts";
import { type AnnounceState, createAnnouncer } from "./announce.ts";
import { createPullSecrets } from "./api/secrets.ts";
import { type AgentServer, createAgentServer } from "./api/server.ts";
import { createExecSessions } from "./exec/sessions.ts";
import { createFileHandlers } from "./files/handlers.ts";
import { createMetadata } from "./metadata.ts";
import { createNodeDocument } from "./node-document.ts";
import { loadNodeId } from "./node-id.ts";
import { createNodeStats } from "./node-stats.ts";
import type { WorkloadConfig, Workloads } from "./ports.ts";
import { createWorkloads } from "./workloads/workloads.ts";

/** PEM texts of the agent's own listener. */
export interface AgentTls {
  readonly cert: string;
  readonly key: string;
  /** Set: the gateway must show a certificate of these authorities. */
  readonly clientCa: string | undefined;
}

export interface AgentOptions {
  readonly name: string;
  readonly dataDirectory: string;
  /** Undefined: it has no listener, and the gateway comes through the tunnel alone. */
  readonly listen: { readonly host: string; readonly port: number } | undefined;
  /** `host:port` that the gateway dials; the listener's own address when undefined. */
  readonly advertise: string | undefined;
  readonly region: string;
  readonly datacenter: string;
  readonly nodePool: string;
  readonly nodeClass: string | undefined;
  readonly meta: Readonly<Record<string, string>>;
  readonly gateway: {
    readonly address: string;
    readonly joinToken: string | undefined;
    /** PEM text of the authorities of its certificate. */
    readonly ca: string | undefined;
    /** Gateways to keep a tunnel to, one at a time; none: no tunnel. */
    readonly tunnels?: readonly string[];
    /** The node's own, in place of the join token. */
    readonly certificate?: DiallerOptions["certificate"];
  };
  readonly tls: AgentTls | undefined;
  /** False lets everyone do everything. */
  readonly aclEnabled: boolean;
  readonly gcMaxAllocs: number;
  readonly workloads: readonly WorkloadConfig[];
  /** Between two announcements. */
  readonly announceIntervalMs?: number;
}

export interface Agent extends Closer {
  /** `host:port` as announced. */
  readonly address: string;
  readonly nodeId: string;
  readonly announcement: AnnounceState;
  readonly workloads: Workloads;
  /** Resolves when the gateway has accepted it once, or the signal aborts. */
  announced(signal: AbortSignal): Promise<void>;
  /** New certificates for new connections; those that live go on. */
  reload(tls: AgentTls): void;
}

const maxExecSessions = 256;
/** Then the gateway is dialled anew, so that a renewed certificate is shown some minutes later. */
const requestsPerConnection = 30;

/** Dials the gateway with the certificate as it is now. */
const connecting =
  ({ ca, certificate }: AgentOptions["gateway"]): buildConnector.connector =>
  (target, callback) => {
    try {
      const dial = buildConnector({ ...(ca === undefined ? {} : { ca }), ...certificate?.() });
      dial(target, callback);
    } catch (error) {
      callback(error instanceof Error ? error : new Error(String(error)), null);
    }
  };

const secureContext = ({ cert, key, clientCa }: AgentTls): SecureContextOptions => ({
  cert,
  key,
  minVersion: "TLSv1.2",
  ...(clientCa === undefined ? {} : { ca: clientCa }),
});

/** With gateways to dial, keeps a tunnel open; what comes through it is served like any connection. */
const openTunnel = (
  {
    log,
    server,
    opened,
  }: { readonly log: Log; readonly server: AgentServer; readonly opened: () => void },
  nodeId: string,
  { tunnels = [], joinToken, ca, certificate }: AgentOptions["gateway"],
): Dialler | undefined =>
  tunnels.length === 0
    ? undefined
    : createDialler(
        { log, opened, accept: (incoming) => server.accept(incoming.take()) },
        { gateways: tunnels, nodeId, joinToken, ca, certificate },
      );

/** Runs until closed. Throws when the data directory or the address cannot be used. */
export const createAgent = async (
  needs: { readonly log: Log; readonly clock: Clock },
  options: AgentOptions,
): Promise<Agent> => {
  const { log, clock } = needs;
  const { dataDirectory, gateway, listen, tls } = options;
  const nodeId = await loadNodeId(dataDirectory);
  const node = {
    id: nodeId,
    name: options.name,
    datacenter: options.datacenter,
    region: options.region,
    nodePool: options.nodePool,
    nodeClass: options.nodeClass ?? "",
  };
  const metadata = await createMetadata({ log }, { dataDirectory, meta: options.meta });
  const workloads = await createWorkloads(
    { log, clock },
    { dataDirectory, node, workloads: options.workloads, gcMaxAllocs: options.gcMaxAllocs },
  );
  // one connection, kept by the announcements: a gateway whose door is full of callers still hears and answers its agents
  const dispatcher = new HttpAgent({
    connections: 1,
    ...(gateway.certificate && { maxRequestsPerClient: requestsPerConnection }),
    connect: connecting(gateway),
  });
  const pullSecrets = createPullSecrets();
  const server = createAgentServer(
    {
      node,
      workloads,
      authenticate: createAuthenticate(
        createGatewaySource({ clock, log, dispatcher }, { origin: gateway.address }),
        { enabled: options.aclEnabled },
      ),
      files: createFileHandlers(),
      metadata,
      nodeStats: createNodeStats({ clock }, { dataDirectory }),
      execSessions: createExecSessions({ log, clock }, { maxSessions: maxExecSessions }),
      pullSecrets,
      log,
      clock,
    },
    tls === undefined
      ? {}
      : { tls: { ...secureContext(tls), requestCert: tls.clientCa !== undefined } },
  );

  const closeAll = async (signal: AbortSignal): Promise<void> => {
    await server.close(signal);
    await workloads.close(signal);
    await dispatcher.destroy();
  };

  const listening = async (): Promise<string> => {
    if (listen === undefined) return tunnelAddress(nodeId);
    const port = await server.listen(listen.host, listen.port);
    return options.advertise ?? authorityOf(listen.host, port);
  };
  let address: string;
  try {
    address = await listening();
  } catch (error) {
    await closeAll(AbortSignal.abort());
    throw error;
  }
  const announcer = createAnnouncer(
    { log, clock, pullSecrets, dispatcher },
    {
      gatewayAddress: gateway.address,
      joinToken: gateway.joinToken,
      document: createNodeDocument(
        { metadata },
        { node, dataDirectory, address, tls: tls !== undefined, startedAtMs: clock.now() },
      ),
      ...(options.announceIntervalMs === undefined
        ? {}
        : { intervalMs: options.announceIntervalMs }),
    },
  );
  const dialler = openTunnel({ log, server, opened: () => announcer.soon() }, nodeId, gateway);
  log.info({ node: nodeId, address, tls: tls !== undefined }, "agent listens");

  return {
    address,
    nodeId,
    workloads,
    get announcement() {
      return announcer.now;
    },
    announced: (signal) => announcer.announced(signal),
    reload: (next) => server.setSecureContext(secureContext(next)),
    async close(signal) {
      await server.close(signal);
      await dialler?.close(signal);
      await workloads.close(signal);
      await announcer.close(signal);
      await dispatcher.destroy();
      log.info({ node: nodeId }, "agent closed");
    },
  };
};
