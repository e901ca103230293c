/** The way to the agents, for callers' exchanges and for the gateway's own questions: one address policy, one TLS identity. */
import type { Dispatcher } from "undici";
import type { ServerConfig } from "../config/server-schema.ts";
import { isLoopback } from "../lib/addresses.ts";
import type { Closers } from "../lib/closers.ts";
import { lazily } from "../lib/lazily.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { Clock, Log } from "../ports.ts";
import { type AddressPolicy, checkAddress } from "../reach/address.ts";
import type { TlsOptions } from "../reach/connector.ts";
import { ownAgentConnections } from "../reach/node-ways.ts";
import { createReach, type Reaches } from "../reach/reach.ts";
import type { Tunnels } from "../reach/tunnelled.ts";
import type { EmbeddedNeeds } from "../registry/embedded/registry.ts";
import { nodeOfTunnelAddress } from "../tunnel/protocol.ts";

export interface Agents extends Pick<EmbeddedNeeds, "dispatcher" | "addressFault"> {
  readonly reaches: Reaches;
}

interface AgentsNeeds {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly closers: Closers;
  readonly tunnels?: Tunnels | undefined;
  readonly tls?: TlsOptions;
}

/** Nomad's agents admit 100 connections from an address (reach's defaults); one that its servers call down is tried. */
const nomadAgents = { tryDown: true } as const;

const isNomad = (registry: ServerConfig["registry"]): boolean => registry === "nomad";

export const openAgents = (
  { clock, log, metrics, closers, tunnels, tls }: AgentsNeeds,
  { reach, registry, nomad, http, timeouts }: ServerConfig,
): Agents => {
  const addresses: AddressPolicy = {
    allow: reach.allow,
    deny: reach.deny,
    loopback: isLoopback(http.listen.host),
  };
  const options = {
    addresses,
    connectTimeoutMs: isNomad(registry) ? nomad.agentConnectMs : timeouts.connectMs,
    dialled: metrics.dialled,
    tunnels,
    waitsForTunnels: isNomad(registry) && !nomad.throughServers,
    tls,
  };
  const reaches = closers.own(
    createReach(
      { clock, log },
      { ...options, ...(isNomad(registry) ? nomadAgents : ownAgentConnections) },
    ),
  );
  let opened: Dispatcher | undefined;
  closers.defer(() => opened?.destroy());
  /** With the first question to an agent: undici is a tenth of what a start would load. */
  const dispatcher = lazily(async () => {
    const { createNodeDispatcher } = await import("../reach/node-dispatcher.ts");
    opened = createNodeDispatcher(options);
    return opened;
  });
  return {
    reaches,
    dispatcher,
    addressFault: (address) =>
      nodeOfTunnelAddress(address) === undefined ? checkAddress(address, addresses) : undefined,
  };
};
