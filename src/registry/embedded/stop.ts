/**
 * Stops an allocation: its agent is told with the caller's own token, then the registry shows it and its evaluation. A
 * node that cannot be asked now is told when it is back (pending-stops.ts).
 */
import { randomUUID } from "node:crypto";
import type { AllocationDocument } from "../../documents.ts";
import { failed, GatewayError, notFound } from "../../errors.ts";
import type { Clock, Credential } from "../../ports.ts";
import type { AgentAddress, AgentAnswer, AgentRequest, AskAgent } from "./agent-client.ts";
import type { Allocations } from "./allocations.ts";
import type { RegistryEvent } from "./events.ts";
import type { PendingStops } from "./pending-stops.ts";
import type { Session } from "./session.ts";

export interface StopNeeds {
  readonly clock: Clock;
  readonly ask: AskAgent;
  readonly allocations: Allocations;
  readonly pending: PendingStops;
  readonly sessionOf: (nodeId: string) => Session | undefined;
  /** A stop waits for a node that beats: it may be reached soon. */
  readonly deferred: (session: Session, allocationId: string) => void;
  readonly audit: (event: RegistryEvent) => void;
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

export const stopRequest = (id: string, headers: AgentRequest["headers"]): AgentRequest => ({
  method: "PUT",
  path: `/v1/allocation/${id}/stop`,
  headers,
  headersTimeoutMs: answerTimeoutMs,
  maxBytes: maxAnswerBytes,
});

const allocationNotFound = (): GatewayError => notFound("allocation not found");

const refusal = ({ status, body }: AgentAnswer, { name }: AgentAddress): GatewayError => {
  const words = body.toString().slice(0, maxWordsLength);
  if (status === 403) return new GatewayError("permission_denied");
  if (status === 404) return allocationNotFound();
  if (status === 500) return failed(words);
  return new GatewayError("upstream_invalid", { node: name, reason: `it answered ${status}` });
};

/** A stop that was heard may be told again: it does nothing then. */
const isAway = (error: unknown): boolean =>
  error instanceof GatewayError &&
  (error.code === "node_unreachable" || error.code === "upstream_broke");

/** What a caller shows to the agent. */
const tokenOf = ({ secret }: Credential): AgentRequest["headers"] =>
  secret === undefined ? {} : { "x-nomad-token": secret };

export const createStop = (needs: StopNeeds) => {
  const { clock, ask, allocations, pending, sessionOf } = needs;

  /** False when it cannot be asked now. */
  const tell = async (
    session: Session | undefined,
    request: AgentRequest,
    signal: AbortSignal,
  ): Promise<boolean> => {
    if (session === undefined) return false;
    try {
      const answer = await ask(session, request, signal);
      if (answer.status !== 200) throw refusal(answer, session);
      return true;
    } catch (error) {
      if (signal.aborted || !isAway(error)) throw error;
      return false;
    }
  };

  const defer = async ({ ID: allocationId, NodeID: nodeId }: AllocationDocument): Promise<void> => {
    if (allocations.hasEnded(allocationId)) return;
    // before it is saved: the agent's next answer may come sooner
    const isNew = allocations.expectStop(allocationId);
    try {
      await pending.add({ allocationId, nodeId });
    } catch (error) {
      if (isNew) allocations.unexpectStop(allocationId);
      throw error;
    }
    needs.audit({ kind: "stop_deferred", nodeId, allocationId });
    const session = sessionOf(nodeId);
    if (session?.synced) needs.deferred(session, allocationId);
  };

  return async (id: string, credential: Credential, signal: AbortSignal): Promise<Stopped> => {
    const allocation = allocations.get(id);
    if (allocation === undefined) throw allocationNotFound();
    const session = sessionOf(allocation.NodeID);
    if (!(await tell(session, stopRequest(id, tokenOf(credential)), signal)))
      await defer(allocation);
    const evaluationId = randomUUID();
    const index = allocations.stop(id, evaluationId, BigInt(clock.now()) * nsPerMs);
    if (index === undefined) throw allocationNotFound();
    return { evaluationId, index };
  };
};
