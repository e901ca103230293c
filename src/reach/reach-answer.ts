/** `GET /v1/serai/nodes/:id/reach`: the ways to one node, for an operator who asks why it cannot be reached. */
import type { Answer } from "../ports.ts";
import type { Ways } from "./reach.ts";
import { nodeOf } from "./refusals.ts";
import { sentenceOf, usedOf, type WayReport } from "./report.ts";

const rounded = (ms: number | undefined): number | null =>
  ms === undefined ? null : Math.round(ms);

const toDocument = ({ way, state, words, address, fared }: WayReport, isUsed: boolean) => ({
  Way: way,
  State: isUsed ? "used" : state,
  Description: words,
  ...(address === undefined ? {} : { Address: address }),
  ConnectedAgoMs: rounded(fared.connectedAgoMs),
  AnsweredAgoMs: rounded(fared.answeredAgoMs),
  LastError: fared.fault
    ? { Step: fared.fault.step, Error: fared.fault.reason, AgoMs: Math.round(fared.fault.agoMs) }
    : null,
});

/** A node that its registry calls down is told of too: why is what is asked. Throws what Nomad says of an unknown one. */
export const createReachAnswer =
  (ways: Pick<Ways, "report">): Answer =>
  (exchange, _principal, scope) => {
    const node = nodeOf(scope, exchange, { tryDown: true });
    const reports = ways.report(node);
    const used = usedOf(reports);
    return {
      document: {
        ID: node.id,
        Name: node.name,
        Status: node.status,
        Used: used?.way ?? null,
        Description: sentenceOf(reports),
        Ways: reports.map((report) => toDocument(report, report === used)),
      },
    };
  };
