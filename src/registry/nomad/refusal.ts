/** Why an event stream was refused: the stream itself never says, the token's own rights and the lists do. */
import { whileWanted } from "../../lib/abort.ts";
import { type AskServers, reasonOf, type ServerAnswer, wordsOf } from "./ask.ts";
import type { NomadFeedBounds } from "./options.ts";

/** What the gateway's own token lacks, in words; empty when it lacks nothing. Rejects when no server can say. */
export type OwnRights = () => Promise<readonly string[]>;

const questions = [
  { path: "/v1/allocations?namespace=*&task_states=false&per_page=1", right: "read-job" },
  { path: "/v1/nodes?per_page=1", right: "node:read" },
] as const;

const maxBytes = 1024 * 1024;

export const lacking = (missing: readonly string[]): string =>
  `the gateway's own token (nomad.token) lacks ${missing.join("; and ")}. See "The gateway's own token" in docs/operating.md`;

/** Empty as well when no server can say, now or while the signal lasts. */
export const whatIsMissing = async (
  ownRights: OwnRights | undefined,
  signal: AbortSignal,
): Promise<readonly string[]> => {
  if (ownRights === undefined) return [];
  try {
    return await whileWanted(ownRights(), signal);
  } catch {
    return [];
  }
};

/** In an operator's words; never rejects. */
export const refusalOf = async (
  { ask, ownRights }: { readonly ask: AskServers; readonly ownRights?: OwnRights | undefined },
  { questionTimeoutMs }: Pick<NomadFeedBounds, "questionTimeoutMs">,
  signal: AbortSignal,
): Promise<string> => {
  const missing = await whatIsMissing(ownRights, signal);
  if (missing.length > 0) return lacking(missing);
  for (const { path, right } of questions) {
    let answer: ServerAnswer;
    try {
      answer = await ask(path, { timeoutMs: questionTimeoutMs, maxBytes }, signal);
    } catch (error) {
      return `the event stream is refused: ${reasonOf(error)}`;
    }
    if (answer.status !== 200)
      return lacking([`${right}: the servers say ${answer.status} ${wordsOf(answer.body)}`]);
  }
  return "the event stream is refused: the gateway's own token needs node:read and read-job in every namespace";
};
