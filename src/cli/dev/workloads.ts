/** The list of `serai dev --workloads`: which agent runs what. Every mistake is told by the entry it is in, with the file's name. */
import { readFileSync } from "node:fs";
import { parseDocument } from "yaml";
import type { z } from "zod";
import { agentDocument } from "../../config/agent-schema.ts";
import { ConfigError } from "../../config/load.ts";
import { errnoOf } from "../../errors.ts";
import { firstLine } from "../../lib/first-line.ts";

interface Entry {
  /** In the file, from 1. */
  readonly number: number;
  /** The agent it names; the entries without one are dealt out in turn. */
  readonly agent: unknown;
  readonly workload: unknown;
}

const fileWords: Readonly<Record<string, string>> = {
  ENOENT: "no such file",
  EISDIR: "is a directory",
  EACCES: "may not be read by this user",
};

const readList = (file: string): readonly unknown[] => {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    const words = fileWords[errnoOf(error) ?? ""];
    throw new ConfigError([`${file}: ${words ?? "cannot be read"}`]);
  }
  const document = parseDocument(text, { prettyErrors: true, uniqueKeys: true });
  const [mistake] = document.errors;
  if (mistake !== undefined) throw new ConfigError([`${file}: ${firstLine(mistake.message)}`]);
  const list: unknown = document.toJS({ maxAliasCount: 100 });
  if (!Array.isArray(list)) throw new ConfigError([`${file}: must be a list of workloads`]);
  return list;
};

const toEntry = (item: unknown, at: number): Entry => {
  if (typeof item !== "object" || item === null || Array.isArray(item))
    return { number: at + 1, agent: undefined, workload: item };
  const { agent, ...workload } = { agent: undefined, ...item };
  return { number: at + 1, agent, workload };
};

const isAgentNumber = (agent: unknown): agent is number =>
  typeof agent === "number" && Number.isInteger(agent) && agent >= 1;

const issueMistakes = (issue: z.core.$ZodIssue): readonly string[] => {
  const [, at, ...path] = issue.path;
  const where = path.map((key) => `${String(key)}: `);
  const before = `entry ${Number(at) + 1}: ${where.length === 0 ? "" : `${path.map(String).join(".")}: `}`;
  return issue.code === "unrecognized_keys"
    ? issue.keys.map((key) => `${before}${key}: unknown setting`)
    : [`${before}${issue.message}`];
};

/** What one agent's own list has against it: names that occur twice, ports that are not there. */
const agentMistakes = (entries: readonly Entry[]): readonly string[] => {
  const parsed = agentDocument.root.schema.safeParse({
    workloads: entries.map(({ workload }) => workload),
  });
  if (!parsed.success) return [];
  return agentDocument
    .faults(parsed.data)
    .map((fault) =>
      fault.replace(/^workloads(?:\.(\d+)\.?)?/, (_whole, at?: string) =>
        at === undefined ? "on one agent" : `entry ${entries[Number(at)]?.number}: `,
      ),
    );
};

const mistakesIn = (
  entries: readonly Entry[],
  perAgent: readonly (readonly Entry[])[],
): readonly string[] => {
  const parsed = agentDocument.root.schema.safeParse({
    workloads: entries.map(({ workload }) => workload),
  });
  return [
    ...entries
      .filter(({ agent }) => agent !== undefined && !isAgentNumber(agent))
      .map(({ number }) => `entry ${number}: agent: must be a whole number from 1`),
    ...(parsed.success
      ? perAgent.flatMap(agentMistakes)
      : parsed.error.issues.flatMap(issueMistakes)),
  ];
};

/** The workloads of each agent, as its settings take them. Throws `ConfigError` with every mistake. */
export const readWorkloads = (file: string, agents: number): readonly (readonly unknown[])[] => {
  const entries = readList(file).map(toEntry);
  const home = ({ agent, number }: Entry): number =>
    isAgentNumber(agent) ? Math.min(agent, agents) : ((number - 1) % agents) + 1;
  const perAgent = Array.from({ length: agents }, (_, index) =>
    entries.filter((entry) => home(entry) === index + 1),
  );
  const mistakes = mistakesIn(entries, perAgent);
  if (mistakes.length > 0) throw new ConfigError(mistakes.map((mistake) => `${file}: ${mistake}`));
  return perAgent.map((own) => own.map(({ workload }) => workload));
};
