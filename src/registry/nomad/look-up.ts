/** One allocation, asked for by its id: what is not in the picture, or not yet. */
import { isUuid } from "../../lib/uuid.ts";
import type { Placement } from "../../ports.ts";
import { type AskServers, unavailable, wordsOf } from "./ask.ts";
import { readAllocation, readList } from "./documents.ts";
import type { NomadFeedBounds } from "./options.ts";

const maxBytes = 1024 * 1024;

const readPlacements = (body: Buffer): readonly Placement[] => {
  try {
    return [...readList(body, readAllocation)];
  } catch (error) {
    throw unavailable("a server's answer is no list of allocations", error);
  }
};

/** Rejects with `registry_unavailable` when the servers cannot say, with the signal's reason when it aborts. */
export const lookUp = async (
  ask: AskServers,
  id: string,
  { questionTimeoutMs }: Pick<NomadFeedBounds, "questionTimeoutMs">,
  signal: AbortSignal,
): Promise<Placement | undefined> => {
  signal.throwIfAborted();
  if (!isUuid(id)) return undefined;
  const answer = await ask(
    `/v1/allocations?prefix=${id}&namespace=*&task_states=false`,
    { timeoutMs: questionTimeoutMs, maxBytes },
    signal,
  );
  if (answer.status !== 200)
    throw unavailable(`the servers refuse the look-up: ${answer.status} ${wordsOf(answer.body)}`);
  return readPlacements(answer.body).find((placement) => placement.id === id);
};
