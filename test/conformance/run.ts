/** Asks every case again and tells, file by file and door by door, what came out. */

import { type CliOutcome, replayCli } from "./cli.ts";
import { startCluster } from "./cluster.ts";
import { type Case, corpus, type FileName, type Via } from "./corpus.ts";
import { differences, type Permitted, permittedBy } from "./differences.ts";
import { createScripts } from "./during.ts";
import { leftOutBy } from "./left-out.ts";
import { laneOf, phaseOf, phases, runLanes } from "./plan.ts";
import { type Difference, replay } from "./replay.ts";

export interface Verdict {
  readonly one: Case;
  readonly permitted: readonly Permitted[];
  readonly unexpected: readonly Difference[];
}

export interface Tally {
  readonly file: FileName;
  readonly via: Via;
  readonly same: number;
  readonly permitted: number;
  readonly leftOut: number;
  readonly unexpected: readonly Verdict[];
}

const judge = (one: Case, found: readonly Difference[]): Verdict => {
  const permitted = new Set<Permitted>();
  const unexpected = found.filter((difference) => {
    const row = permittedBy(one, difference);
    if (row !== undefined) permitted.add(row);
    return row === undefined;
  });
  return { one, permitted: [...permitted], unexpected };
};

/** Most lanes wait for a command or a heartbeat. */
const lanesAtOnce = 20;

export interface Results {
  readonly verdicts: readonly Verdict[];
  readonly cli: readonly CliOutcome[];
}

/** Takes the cluster through all phases; nothing of it is left when it resolves. */
export const runAll = async (): Promise<Results> => {
  const cases = [...corpus.values()].flat().filter((one) => leftOutBy(one) === undefined);
  const verdicts: Verdict[] = [];
  let cli: readonly CliOutcome[] = [];
  await using cluster = await startCluster();
  const dying = cases.filter((one) => phaseOf(one) === "killed").length;
  const scripts = createScripts(cluster, dying);
  for (const phase of phases) {
    if (phase === "killed") cli = await replayCli(cluster);
    if (phase === "down") await cluster.down();
    const mine = cases.filter((one) => phaseOf(one) === phase);
    await runLanes(mine, laneOf, lanesAtOnce, async (one) => {
      verdicts.push(judge(one, await replay(one, cluster, scripts(one))));
    });
  }
  return { verdicts, cli };
};

export const tallyOf = ({ verdicts }: Results, file: FileName, via: Via): Tally => {
  const mine = verdicts.filter(({ one }) => one.file === file && one.via === via);
  const all = (corpus.get(file) ?? []).filter((one) => one.via === via).length;
  const unexpected = mine.filter((verdict) => verdict.unexpected.length > 0);
  const permitted = mine.filter(
    (verdict) => verdict.unexpected.length === 0 && verdict.permitted.some(({ wide }) => !wide),
  ).length;
  return {
    file,
    via,
    same: mine.length - unexpected.length - permitted,
    permitted,
    leftOut: all - mine.length,
    unexpected,
  };
};

/** Rows of the list that no answer needed. */
export const staleDifferences = ({ verdicts }: Results): readonly Permitted[] => {
  const used = new Set(verdicts.flatMap(({ permitted }) => permitted));
  return differences.filter((row) => !used.has(row));
};
