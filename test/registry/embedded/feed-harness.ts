/** The embedded registry under the feeds' suite: its source is one real agent. */
import type { Placement } from "../../../src/ports.ts";
import type { FeedHarness } from "../../suites/feed.ts";
import { AgentUnderTest } from "../agent-under-test.ts";
import { allocationBody } from "../documents.ts";
import { RegistryUnderTest } from "../registry-under-test.ts";
import { until } from "../until.ts";

export const embeddedHarness = async (): Promise<FeedHarness> => {
  const agent = await AgentUnderTest.start();
  const under = await RegistryUnderTest.startInRealTime({
    waitMs: 100,
    minGapMs: 1,
    maxBackoffMs: 20,
    staleAfterMs: 200,
  });
  await under.announce(agent);
  const documents = new Map<string, ReturnType<typeof allocationBody>>();
  const documentOf = ({ id, nodeId, terminal }: Placement) => {
    const document = {
      ...(documents.get(id) ?? allocationBody(nodeId, { ID: id })),
      ClientStatus: terminal ?? ("running" as const),
    };
    documents.set(id, document);
    return document;
  };
  return {
    feed: under.registry.feed,
    nodeIds: [agent.nodeId],
    hold: (placements) => agent.list(...placements.map(documentOf)),
    breakContinuity: () => agent.forgetIndex(),
    lose: () => {
      agent.overrides.set(agent.allocationsPath, (request) => request.socket.destroy());
      agent.cut();
    },
    restore: () => agent.overrides.delete(agent.allocationsPath),
    until,
    async [Symbol.asyncDispose]() {
      await under.close();
      await agent[Symbol.asyncDispose]();
    },
  };
};
