/** Where everything lives: the embedded registry, and the directory that follows it. */
import type { ServerConfig } from "../config/server-schema.ts";
import type { Closers } from "../lib/closers.ts";
import type { ServersOptions } from "../nomad/servers.ts";
import type { Audit } from "../observe/audit.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { Clock, Log, NodeEntry } from "../ports.ts";
import type { Ways } from "../reach/reach.ts";
import { PackedDirectory } from "../registry/directory.ts";
import type { JoinTokens } from "../registry/embedded/announce.ts";
import { createEmbeddedRegistry, type EmbeddedRegistry } from "../registry/embedded/registry.ts";
import type { Feed } from "../registry/feed.ts";
import type { Agents } from "./agents.ts";
import { observeDirectory, observeRegistry } from "./observing.ts";

/** Where everything lives, whichever registry it is. */
export interface Home {
  readonly feed: Feed;
  readonly directory: PackedDirectory;
  /** A node with its agent's address; at once when it is known. */
  readonly findNode: (
    id: string,
    signal: AbortSignal,
  ) => NodeEntry | undefined | Promise<NodeEntry | undefined>;
  /** How to get to its agents. */
  readonly ways: Ways;
  /** The embedded registry; in front of a cluster its servers have the documents. */
  readonly embedded: EmbeddedRegistry | undefined;
}

/** What the gateway shows the servers of a cluster: looked at with each question, since SIGHUP reads their files again. */
export type ServerTokens = {
  -readonly [Name in "token" | "serviceToken"]: ServerConfig["nomad"][Name];
};

export interface HomeNeeds {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly audit: Audit;
  readonly agents: Agents;
  readonly joinTokens: JoinTokens;
  readonly closers: Closers;
  /** To the servers of a cluster. */
  readonly tls: ServersOptions["tls"];
  readonly serverTokens: Readonly<ServerTokens>;
  /** Ids of requests. */
  readonly nextId: () => string;
}

/** The directory that follows a feed. */
export const follow = (
  feed: Feed,
  { clock, metrics, closers }: HomeNeeds,
  limits: ServerConfig["limits"],
): PackedDirectory => {
  const directory = new PackedDirectory(
    { clock, feed, observe: observeDirectory(metrics) },
    { maxAllocations: limits.maxAllocations, maxNodes: limits.maxNodes },
  );
  const leave = feed.follow(directory);
  closers.defer(() => {
    leave();
    directory.close();
  });
  return directory;
};

export const openEmbedded = async (needs: HomeNeeds, config: ServerConfig): Promise<Home> => {
  const { clock, log, metrics, audit, agents, closers, joinTokens } = needs;
  const { limits, dataDir, node, metadata } = config;
  const registry = closers.own(
    await createEmbeddedRegistry(
      {
        clock,
        log,
        dispatcher: agents.dispatcher,
        addressFault: agents.addressFault,
        joinTokens,
        observe: observeRegistry({ metrics, audit, log }),
      },
      {
        dataDirectory: dataDir,
        downAfterMs: node.downAfterMs,
        maxNodes: limits.maxNodes,
        maxAllocations: limits.maxAllocations,
        maxWaiters: limits.blockingQueries,
        metadataIntervalMs: metadata.intervalMs,
      },
    ),
  );
  const { feed } = registry;
  const directory = follow(feed, needs, limits);
  return {
    feed,
    directory,
    findNode: (id) => directory.node(id),
    ways: agents.reaches,
    embedded: registry,
  };
};
