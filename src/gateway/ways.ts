/** The way to a cluster's agents: direct; where the agent is now, when it has moved; through a server, when it cannot be dialled. */
import type { ServerConfig } from "../config/server-schema.ts";
import type { Servers, ServersOptions } from "../nomad/servers.ts";
import { askingAnew } from "../reach/asking-anew.ts";
import type { Ways } from "../reach/reach.ts";
import { throughServers } from "../reach/through-servers.ts";
import type { PackedDirectory } from "../registry/directory.ts";
import type { NomadFeed } from "../registry/nomad/feed.ts";
import type { HomeNeeds } from "./registry.ts";
import { createResolveAnew } from "./resolve-anew.ts";

export interface Cluster {
  readonly feed: NomadFeed;
  readonly directory: PackedDirectory;
  readonly servers: Servers;
  /** To the servers. */
  readonly tls: ServersOptions["tls"];
}

export const openWays = (
  { clock, log, metrics, agents, closers }: HomeNeeds,
  { feed, directory, servers, tls }: Cluster,
  { nomad, timeouts }: ServerConfig,
): Ways => {
  const anew = createResolveAnew({ directory, nodes: feed.nodes });
  const direct = askingAnew(agents.reaches, { anew, misplaced: metrics.misplaced });
  if (!nomad.throughServers) return direct;
  return closers.own(
    throughServers(
      direct,
      { clock, log, servers, taken: metrics.throughServers },
      { tls, connectTimeoutMs: timeouts.connectMs },
    ),
  );
};
