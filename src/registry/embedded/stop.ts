/** Stops an allocation: its agent is told with the caller's own token, then the registry shows it and its evaluation. */
import { randomUUID } from "node:crypto";
import type { AllocationDocument } from "../../documents.ts";
import { failed, GatewayError, notFound } from "../../errors.ts";
import type { Clock, Credential } from "../../ports.ts";
import type { AgentAddress, AgentAnswer, AskAgent } from "./agent-client.ts";
import type { Allocations } from "./allocations.ts";

export interface StopNeeds {
  readonly clock: Clock;
  readonly ask: AskAgent;
  readonly allocations: Allocations;
  /** Throws when the node cannot be asked now. */
  readonly agentOf: (nodeId: string) => AgentAddress;
}

export interface Stopped {
  readonly evaluationId: string;
  readonly index: number;
}

/** The longest kill timeout and some more. */
const answerTimeoutMs = 330_000;
const maxAnswerBytes = 64 * 1024;
const maxWordsLength = 1_000;
const nsPerMs = 1_000_000n;

const allocationNotFound = (): GatewayError => notFound("allocation not found");

const refusal = ({ status, body }: AgentAnswer, { name }: AgentAddress): GatewayError => {
  const words = body.toString().slice(0, maxWordsLength);
  if (status === 403) return new GatewayError("permission_denied");
  if (status === 404) return allocationNotFound();
  if (status === 500) return failed(words);
  return new GatewayError("upstream_invalid", { node: name, reason: `it answered ${status}` });
};

export const createStop =
  ({ clock, ask, allocations, agentOf }: StopNeeds) =>
  async (id: string, credential: Credential, signal: AbortSignal): Promise<Stopped> => {
    const allocation: AllocationDocument | undefined = allocations.get(id);
    if (allocation === undefined) throw allocationNotFound();
    const agent = agentOf(allocation.NodeID);
    const answer = await ask(
      agent,
      {
        method: "PUT",
        path: `/v1/allocation/${id}/stop`,
        headers: credential.secret === undefined ? {} : { "x-nomad-token": credential.secret },
        headersTimeoutMs: answerTimeoutMs,
        maxBytes: maxAnswerBytes,
      },
      signal,
    );
    if (answer.status !== 200) throw refusal(answer, agent);
    const evaluationId = randomUUID();
    const index = allocations.stop(id, evaluationId, BigInt(clock.now()) * nsPerMs);
    if (index === undefined) throw allocationNotFound();
    return { evaluationId, index };
  };
