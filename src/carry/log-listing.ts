/** The files of a task's log as an agent lists them: `ls`, which takes more of a right than reading the log does. */
import { GatewayError } from "../errors.ts";
import { isCount, isJsonObject, type Json, parseJson } from "../lib/json.ts";
import { byIndex, type LogFile, type LogsOf, logIndex } from "../logs/log-files.ts";
import { logsDirectory } from "../logs/places.ts";
import { routeNamed } from "../routes.ts";
import type { Listener } from "./ask.ts";
import { type Carrying, deadlineMsOf } from "./carriage.ts";
import { refusesToken } from "./collect.ts";
import { askBeside } from "./look.ts";

const ls = routeNamed("fs.ls");

/** Keeps what a refusal says. */
const refusalWords = (maxBytes: number): Listener & { readonly words: string } => {
  let words = "";
  return {
    get words() {
      return words;
    },
    head: () => "collects",
    data(chunk, done) {
      if (words.length < maxBytes) words += chunk.toString();
      done?.();
      return true;
    },
    end: () => undefined,
  };
};

const entriesIn = (text: string): Json => {
  try {
    return parseJson(text);
  } catch {
    return null;
  }
};

const filesIn = (text: string, logs: LogsOf, node: string): readonly LogFile[] => {
  const entries = entriesIn(text);
  if (!Array.isArray(entries))
    throw new GatewayError("upstream_invalid", { node, reason: "its ls is no list" });
  const files: LogFile[] = [];
  for (const entry of entries) {
    if (!isJsonObject(entry)) continue;
    const { Name: name, IsDir: isDirectory, Size: size } = entry;
    if (typeof name !== "string" || isDirectory === true) continue;
    const index = logIndex(logs, name);
    if (index !== undefined && isCount(size)) files.push({ name, index, size });
  }
  return files.toSorted(byIndex);
};

/** None when there are none, or they cannot be told of: the log's own refusal says why. Throws `permission_denied`. */
export const listLog = async (carrying: Carrying, logs: LogsOf): Promise<readonly LogFile[]> => {
  const { limits, reach } = carrying;
  const refusal = refusalWords(limits.maxRefusalBytes);
  const question = {
    route: ls,
    parameters: { path: logsDirectory },
    maxBytes: limits.maxDocumentBytes,
    deadlineMs: deadlineMsOf(carrying),
  };
  const document = await askBeside(carrying, question, refusal);
  if (document !== undefined) return filesIn(document.text, logs, reach.node.name);
  if (!refusesToken(refusal.words)) return [];
  throw new GatewayError("permission_denied", {
    reason: "resume needs read-fs at a Nomad agent, to list the files of the log",
  });
};
