/**
 * Reads one document's settings in layers: file, then environment, then flags. Nothing is half-read: every mistake of
 * every layer is told at once, each with its origin, and nothing starts.
 */
import { readFileSync } from "node:fs";
import type { z } from "zod";
import { type AgentConfig, agentDocument } from "./agent-schema.ts";
import { type ConnectConfig, connectDocument } from "./connect-schema.ts";
import { type Layered, layersOf, type Sources, told } from "./layers.ts";
import { type ServerConfig, serverDocument } from "./server-schema.ts";
import type { Document, Rows } from "./settings.ts";
import { type Check, faultsOf, soundParts } from "./sound.ts";
import { readTree } from "./tree.ts";

export interface Loaded<T> {
  readonly config: T;
  readonly rows: Rows;
  readonly layered: Layered;
  /** Sound, but likely not meant. */
  readonly warnings: readonly string[];
}

/** Every mistake, one a line, after the warnings that may say how one of them came about. */
export class ConfigError extends Error {
  readonly mistakes: readonly string[];

  constructor(mistakes: readonly string[], warnings: readonly string[] = []) {
    super([...warnings.map((words) => `warning: ${words}`), ...mistakes].join("\n"));
    this.name = "ConfigError";
    this.mistakes = mistakes;
  }
}

const dotted = (path: readonly PropertyKey[]): string => path.map(String).join(".");

const issueMistakes = (issue: z.core.$ZodIssue, layered: Layered): readonly string[] => {
  const path = dotted(issue.path);
  if (issue.code !== "unrecognized_keys") return [told(layered, path, issue.message)];
  return issue.keys.map((key) =>
    told(layered, path === "" ? key : `${path}.${key}`, "unknown setting"),
  );
};

const faultMistake = (fault: string, layered: Layered): string => {
  const colon = fault.indexOf(": ");
  return told(layered, fault.slice(0, colon), fault.slice(colon + 2));
};

/** Beside what the settings themselves say: what is wrong with the files that they name. */
export type FileChecks<T> = readonly Check<[config: T]>[];

/** Throws `ConfigError` with every mistake that can be told for certain. */
const load = <T>(document: Document<T>, sources: Sources, files: FileChecks<T>): Loaded<T> => {
  const tree = sources.file === undefined ? { value: {}, mistakes: [] } : readTree(sources.file);
  const layered = layersOf(document, tree.value, sources, (file) => readFileSync(file, "utf8"));
  const isUnread = (path: string): boolean =>
    tree.mistakes.length > 0 && !layered.origins.has(path);
  const isDoubtful = (path: string): boolean => layered.doubtful.has(path) || isUnread(path);
  const parsed = document.root.schema.safeParse(layered.value);
  const issues = parsed.error?.issues.filter(({ path }) => !isUnread(dotted(path))) ?? [];
  const isSound = parsed.success && tree.mistakes.length === 0 && layered.doubtful.size === 0;
  const sound = isSound ? parsed.data : soundParts(document.root, layered.value, isDoubtful);
  const mistakes = [
    ...tree.mistakes,
    ...layered.mistakes,
    ...issues.flatMap((issue) => issueMistakes(issue, layered)),
    ...[...document.faults(sound), ...faultsOf(files, sound)].map((fault) =>
      faultMistake(fault, layered),
    ),
  ];
  if (mistakes.length > 0) throw new ConfigError([...new Set(mistakes)], layered.warnings);
  return {
    config: sound,
    rows: document.root.rows,
    layered,
    warnings: [...layered.warnings, ...document.warnings(sound)],
  };
};

export const loadServerConfig = (
  sources: Sources,
  files: FileChecks<ServerConfig> = [],
): Loaded<ServerConfig> => load(serverDocument, sources, files);

export const loadAgentConfig = (
  sources: Sources,
  files: FileChecks<AgentConfig> = [],
): Loaded<AgentConfig> => load(agentDocument, sources, files);

export const loadConnectConfig = (
  sources: Sources,
  files: FileChecks<ConnectConfig> = [],
): Loaded<ConnectConfig> => load(connectDocument, sources, files);
