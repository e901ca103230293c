/**
 * In which order cases are asked again. What only reads runs side by side; what changes something runs in the order of
 * its file, after everything that must not see the change; the death of a node comes last.
 */
import type { Case } from "./corpus.ts";

export const phases = [
  "read",
  "grow",
  "junk",
  "act",
  "manage",
  "stop",
  "killed",
  "dead",
  "down",
] as const;
export type Phase = (typeof phases)[number];

const speaks = /a line is written|as alloc logs -f/;
const grows = /^stream: follow.*(grows|truncated|deleted)|across a rotation|directory vanishes/;

const phaseOfFile: Readonly<Partial<Record<Case["file"], Phase>>> = {
  "allocation-actions": "act",
  "node-client": "manage",
};

const phaseOfNodeDown = (name: string): Phase => {
  if (name.startsWith("killed")) return "killed";
  return name.startsWith("just killed") ? "dead" : "down";
};

export const phaseOf = ({ file, name }: Case): Phase => {
  if (file === "node-down") return phaseOfNodeDown(name);
  if (name.includes("stdout.junk")) return "junk";
  if (file === "streams") return speaks.test(name) || grows.test(name) ? "grow" : "read";
  if (file === "servers" && /^(stop|.*blocked read woken|.*stopped)/.test(name)) return "stop";
  return phaseOfFile[file] ?? "read";
};

/** Cases of one lane run one after the other. */
export const laneOf = (one: Case): string => {
  const { file, name, via } = one;
  if (speaks.test(name)) return "the task speaks";
  if (name.includes("across a rotation")) return "the log rotates";
  if (name.includes("stdout.junk")) return "junk";
  const phase = phaseOf(one);
  const isApart = phase !== "act" && phase !== "manage" && phase !== "stop";
  return isApart ? `${file} ${name} ${via}` : file;
};

/** Runs lanes side by side, so many at a time. */
export const runLanes = async <T>(
  cases: readonly T[],
  laneOfOne: (one: T) => string,
  atOnce: number,
  run: (one: T) => Promise<void>,
): Promise<void> => {
  const lanes = [...Map.groupBy(cases, laneOfOne).values()];
  const worker = async (): Promise<void> => {
    for (let lane = lanes.shift(); lane !== undefined; lane = lanes.shift())
      for (const one of lane) await run(one);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
};
