/** A YAML (or JSON) file as a plain tree. What YAML itself finds wrong is told with its line. */
import { readFileSync } from "node:fs";
import { isMap, parseDocument } from "yaml";
import { firstLine } from "../lib/first-line.ts";
import { fileReason } from "../lib/text-file.ts";

const maxFileBytes = 4 * 2 ** 20;
const maxAliases = 100;

export type Tree = Record<string, unknown>;

export interface ReadTree {
  readonly value: Tree;
  readonly mistakes: readonly string[];
}

export const isTree = (value: unknown): value is Tree =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const reasonOf = (error: unknown): string => {
  if (error instanceof Error && "code" in error && error.code === "ENOENT") return "no such file";
  return fileReason(error);
};

const parse = (file: string, content: string): ReadTree => {
  const document = parseDocument(content, { prettyErrors: true, uniqueKeys: true });
  if (document.errors.length > 0)
    return {
      value: {},
      mistakes: document.errors.map((error) => `file ${file}: ${firstLine(error.message)}`),
    };
  if (document.contents === null) return { value: {}, mistakes: [] };
  if (!isMap(document.contents))
    return { value: {}, mistakes: [`file ${file}: must be a map of settings`] };
  const value: unknown = document.toJS({ maxAliasCount: maxAliases });
  return { value: isTree(value) ? value : {}, mistakes: [] };
};

/** Never throws: a file that cannot be read is a mistake like any other. */
export const readTree = (file: string): ReadTree => {
  try {
    const content = readFileSync(file);
    if (content.length > maxFileBytes)
      return { value: {}, mistakes: [`file ${file}: is larger than 4 MiB`] };
    return parse(file, content.toString("utf8"));
  } catch (error) {
    return { value: {}, mistakes: [`file ${file}: ${reasonOf(error)}`] };
  }
};
