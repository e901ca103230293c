/** The Nomad feed under the feeds' suite: its source is a server by script, on loopback. */
import { randomUUID } from "node:crypto";
import { systemClock } from "../../../src/lib/clock.ts";
import { createServers, type Servers } from "../../../src/nomad/servers.ts";
import type { Log, NodeEntry, Placement } from "../../../src/ports.ts";
import { createNomadFeed } from "../../../src/registry/nomad/feed.ts";
import type { FeedHarness } from "../../suites/feed.ts";
import { ScriptedNomad } from "../../support/scripted-nomad.ts";
import { until } from "../until.ts";

export const silentLog: Log = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
};

export const serversOf = (...origins: readonly string[]): Servers =>
  createServers({ addresses: origins, connectTimeoutMs: 1_000, tls: undefined });

export const nodeEntry = (over: Partial<NodeEntry> = {}): NodeEntry => ({
  id: randomUUID(),
  name: "client-1",
  status: "ready",
  address: "127.0.0.31:4646",
  tls: false,
  ...over,
});

export const placementOf = (nodeId: string, over: Partial<Placement> = {}): Placement => ({
  id: randomUUID(),
  nodeId,
  namespace: "default",
  jobId: "web",
  taskGroup: "front",
  terminal: undefined,
  ...over,
});

export const patience = (): AbortSignal => AbortSignal.timeout(10_000);

/** Nomad tells no allocation's leaving: only a whole list does, so lists follow quickly here. */
export const nomadHarness = async (): Promise<FeedHarness> => {
  const nomad = await ScriptedNomad.start({ heartbeatMs: 20 });
  const node = nodeEntry();
  nomad.register(node);
  const servers = serversOf(nomad.origin);
  const feed = createNomadFeed(
    { clock: systemClock, log: silentLog, servers },
    {
      token: () => "s.gateway",
      silenceMs: 250,
      resumeMs: 30,
      minBackoffMs: 5,
      maxBackoffMs: 20,
      relistGapMs: 10,
      relistMs: 100,
    },
  );
  let known = new Map<string, Placement>();
  let isLost: Promise<void> = Promise.resolve();
  return {
    feed,
    nodeIds: [node.id],
    hold(placements) {
      const wanted = new Map(placements.map((one) => [one.id, one]));
      const gone = [...known.keys()].filter((id) => !wanted.has(id));
      const changed = placements.filter((one) => known.get(one.id)?.terminal !== one.terminal);
      const fresh = placements.filter((one) => !known.has(one.id));
      if (gone.length > 0) nomad.collect(...gone);
      const put = [...new Set([...fresh, ...changed])];
      if (put.length > 0) nomad.put(...put);
      known = wanted;
    },
    breakContinuity() {
      nomad.forgetEvents();
      nomad.cutStreams();
    },
    lose() {
      isLost = nomad.lose();
    },
    restore() {
      void isLost.then(() => nomad.listen());
    },
    until,
    async [Symbol.asyncDispose]() {
      await feed.close(patience());
      await servers.close(patience());
      await isLost;
      await nomad[Symbol.asyncDispose]();
    },
  };
};
