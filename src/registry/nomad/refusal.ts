/** Why an event stream was refused: the stream itself never says, the lists do. */
import { type AskServers, type ServerAnswer, wordsOf } from "./ask.ts";
import type { NomadFeedBounds } from "./options.ts";

const questions = [
  { path: "/v1/allocations?namespace=*&task_states=false&per_page=1", right: "read-job" },
  { path: "/v1/nodes?per_page=1", right: "node:read" },
] as const;

const maxBytes = 1024 * 1024;

/** In an operator's words; never rejects. */
export const refusalOf = async (
  ask: AskServers,
  { answerTimeoutMs }: Pick<NomadFeedBounds, "answerTimeoutMs">,
  signal: AbortSignal,
): Promise<string> => {
  for (const { path, right } of questions) {
    let answer: ServerAnswer;
    try {
      answer = await ask(path, { timeoutMs: answerTimeoutMs, maxBytes }, signal);
    } catch (error) {
      return error instanceof Error ? error.message : "the servers cannot be asked why";
    }
    if (answer.status !== 200)
      return `the gateway's token lacks ${right}: the servers say ${answer.status} ${wordsOf(answer.body)}`;
  }
  return "the gateway's token may read lists; the stream needs node:read and read-job in every namespace";
};
