/** The public door: HTTP and upgrades on one listener, with TLS when there is a certificate. */
import type { IncomingMessage } from "node:http";
import type { ServerConfig } from "../config/server-schema.ts";
import { asksForWebSocket } from "../http/upgrade.ts";
import { createEdge, type EdgeNeeds, type EdgeOptions } from "../ingress/edge.ts";
import { isExecUpgrade } from "../ingress/exec-match.ts";
import { type Limited, type Listener, openListener } from "../ingress/listener.ts";
import { createPassingUpgrade } from "../ingress/passing.ts";
import { isElsewhere } from "../ingress/region.ts";
import { createTlsContext, type TlsContext } from "../ingress/tls.ts";
import { createUpgrade, type UpgradeListener } from "../ingress/upgrade.ts";
import { addressTest, isLoopback } from "../lib/addresses.ts";
import { openFilesLimit } from "../lib/open-files.ts";
import type { Log } from "../ports.ts";
import { registryParameterCheck } from "../registry/answers/parameter-check.ts";
import type { TunnelDoor } from "../tunnel/door.ts";
import { type Callers, everyone } from "./callers.ts";

export interface Door {
  readonly listener: Listener;
  readonly context: TlsContext | undefined;
  /** `http(s)://host:port` as bound. */
  readonly url: string;
}

type DoorNeeds = Pick<
  EdgeNeeds,
  "travel" | "started" | "ended" | "isDraining" | "nextId" | "passing"
> & {
  readonly log: Log;
  readonly limited: Limited & NonNullable<EdgeNeeds["limited"]>;
  readonly tunnels?: TunnelDoor;
  readonly callers?: Callers;
};

/** Execs of its region are the gateway's; other WebSockets go to the cluster's servers where there are any. */
const dispatchUpgrades =
  (own: UpgradeListener, passed: UpgradeListener | undefined, region: string): UpgradeListener =>
  (request, socket, head) => {
    const isOwn = isExecUpgrade(request) && !isElsewhere(request.url ?? "", region);
    if (passed === undefined || isOwn) own(request, socket, head);
    else passed(request, socket, head);
  };

const upgradesOf = (
  needs: EdgeNeeds,
  options: EdgeOptions,
  { limits, region }: ServerConfig,
): UpgradeListener => {
  const { passing } = needs;
  const own = createUpgrade(needs, {
    ...options,
    maxMessageBytes: limits.execMessageBytes,
    handshakeTimeoutMs: limits.handshakeMs,
    maxHandshakeBytes: limits.handshakeMessageBytes,
    maxUnauthenticatedPerAddress: limits.handshakesPerAddress,
  });
  const passed = passing && createPassingUpgrade({ ...needs, passing }, options);
  return dispatchUpgrades(own, passed, region);
};

/** The requests that may become WebSockets, here or at the servers. */
const upgradeTest =
  (passing: EdgeNeeds["passing"]) =>
  (request: IncomingMessage): boolean =>
    isExecUpgrade(request) ||
    (asksForWebSocket(request) && passing?.isSocketTarget(request.url ?? "") === true);

const tunnelsBefore =
  (tunnels: TunnelDoor | undefined, others: UpgradeListener): UpgradeListener =>
  (request, socket, head) => {
    if (tunnels?.isHello(request)) tunnels.take(request, socket, head);
    else others(request, socket, head);
  };

const contextOf = (log: Log, { tls, http, tunnel }: ServerConfig): TlsContext | undefined => {
  const { certFile, keyFile, clientCaFile } = tls;
  if (certFile !== undefined && keyFile !== undefined)
    return createTlsContext(
      { log },
      { certFile, keyFile, clientCaFile, nodeCaFile: tunnel.clientCaFile },
    );
  if (!isLoopback(http.listen.host))
    log.warn(
      { listen: http.listen.host },
      "cleartext on an address that others can reach: set tls.cert_file and tls.key_file",
    );
  return undefined;
};

/** Each caller's connection may need one to an agent; a tenth of the descriptors is kept for files and the admin listener. */
const shareOfDescriptors = 0.9 / 2;

/** Connections of callers that the process' descriptors allow. */
const boundByDescriptors = (wanted: number, log: Log): number => {
  const descriptors = openFilesLimit();
  const most = descriptors === undefined ? wanted : Math.floor(descriptors * shareOfDescriptors);
  if (most >= wanted) return wanted;
  log.warn(
    { wanted, most, descriptors },
    "fewer connections than limits.max_sockets: raise the limit of open files",
  );
  return most;
};

/** Rejects with the system's error when the address cannot be used. Whoever opens it closes its listener. */
export const openDoor = async (needs: DoorNeeds, config: ServerConfig): Promise<Door> => {
  const { limits, timeouts, http, region } = config;
  const { log, callers = everyone } = needs;
  const edgeNeeds: EdgeNeeds = {
    ...needs,
    region,
    maxBodyBytes: limits.maxBodyBytes,
    bodyTimeoutMs: timeouts.requestMs,
    checkCaller: callers.check,
    checkRegistryParameters: (name, raw) => registryParameterCheck(name, raw, region),
  };
  const edgeOptions = {
    isTrustedProxy: addressTest(http.trustProxy),
    allowedOrigins: http.allowedOrigins,
  };
  const context = contextOf(log, config);
  const isSocket = upgradeTest(needs.passing);
  const edge = createEdge(edgeNeeds, edgeOptions);
  const listener = await openListener(
    {
      log,
      limited: needs.limited,
      onRequest: edge.onRequest,
      begin: (line, fields, caller) => callers.isOne(caller) && edge.begin(line, fields, caller),
      onUpgrade: tunnelsBefore(needs.tunnels, upgradesOf(edgeNeeds, edgeOptions, config)),
    },
    {
      ...http.listen,
      isUpgrade: (request) =>
        needs.tunnels?.isHello(request) || (callers.isOne(request) && isSocket(request)),
      maxHeaderBytes: limits.maxHeaderBytes,
      headersTimeoutMs: timeouts.headersMs,
      // what is passed on may be large and its caller slow: there progress counts, not the whole time
      requestTimeoutMs: needs.passing === undefined ? timeouts.requestMs : 0,
      keepAliveTimeoutMs: timeouts.keepAliveMs,
      tlsHandshakeTimeoutMs: timeouts.tlsHandshakeMs,
      maxSocketsPerAddress: limits.socketsPerAddress,
      maxSockets: boundByDescriptors(limits.maxSockets, log),
      tls: context,
    },
  );
  return { listener, context, url: `${context ? "https" : "http"}://${listener.address}` };
};
