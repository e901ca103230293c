/** Where everything lives: the embedded registry, and the directory that follows it. */
import { createJoinTokens } from "../acl/join-tokens.ts";
import type { ServerConfig } from "../config/server-schema.ts";
import type { Closers } from "../lib/closers.ts";
import type { Audit } from "../observe/audit.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { Clock, Log } from "../ports.ts";
import { PackedDirectory } from "../registry/directory.ts";
import { createEmbeddedRegistry, type EmbeddedRegistry } from "../registry/embedded/registry.ts";
import type { Agents } from "./agents.ts";
import { observeDirectory, observeRegistry } from "./observing.ts";

export interface Home {
  readonly registry: EmbeddedRegistry;
  readonly directory: PackedDirectory;
}

interface HomeNeeds {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly audit: Audit;
  readonly agents: Agents;
  readonly closers: Closers;
}

/** Without a file of join tokens no agent can join. */
const nobodyJoins = { claim: () => false } as const;

export const openHome = async (needs: HomeNeeds, config: ServerConfig): Promise<Home> => {
  const { clock, log, metrics, audit, agents, closers } = needs;
  const { limits, acl, dataDir, node, metadata } = config;
  const file = acl.joinTokensFile;
  const registry = closers.own(
    await createEmbeddedRegistry(
      {
        clock,
        log,
        dispatcher: agents.dispatcher,
        addressFault: agents.addressFault,
        joinTokens: file === undefined ? nobodyJoins : createJoinTokens({ clock }, { file }),
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
  const directory = new PackedDirectory(
    { clock, feed: registry.feed, observe: observeDirectory(metrics) },
    { maxAllocations: limits.maxAllocations, maxNodes: limits.maxNodes },
  );
  const leave = registry.feed.follow(directory);
  closers.defer(() => {
    leave();
    directory.close();
  });
  return { registry, directory };
};
