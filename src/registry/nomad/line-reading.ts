/** A long line, thousands of events of one write, is read without holding up everybody else. */
import { setImmediate as turn } from "node:timers/promises";
import type { Clock } from "../../ports.ts";
import { readLine, type Told } from "./documents.ts";

const eventsBetweenLooks = 128;
const budgetMs = 8;

/** What a line tells. Rejects with a `SyntaxError` when it cannot be read. */
export const readInTurns = async (line: Buffer, clock: Clock): Promise<readonly Told[]> => {
  const told: Told[] = [];
  let until = clock.monotonic() + budgetMs;
  for (const one of readLine(line)) {
    told.push(one);
    if (told.length % eventsBetweenLooks !== 0 || clock.monotonic() < until) continue;
    await turn();
    until = clock.monotonic() + budgetMs;
  }
  return told;
};
