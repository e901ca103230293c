/**
 * The tokens file and the policies directory, read and checked as one: either everything is sound and a new state comes out,
 * or every fault is listed with its file and path and nothing changes.
 */
import { readdir, readFile, stat } from "node:fs/promises";
import path from "node:path";
import { errnoOf } from "../errors.ts";
import { stringifyJson } from "../lib/json.ts";
import { fileReason } from "../lib/text-file.ts";
import { Policies, policyHash, policyNamePattern, type StoredPolicy } from "./policies.ts";
import { maxPolicyBytes, parsePolicyText, readDocument } from "./policy-text.ts";
import { readTokenFile, type TokenFile } from "./token-file.ts";

export interface AclFiles {
  /** Undefined: no tokens. */
  readonly tokensFile: string | undefined;
  /** Undefined: no policies. */
  readonly policiesDirectory: string | undefined;
}

export interface AclState {
  readonly policies: Policies;
  readonly tokens: TokenFile["tokens"];
  readonly roles: TokenFile["roles"];
  /** Milliseconds of the tokens file's last change. */
  readonly tokensIndex: number;
}

/** Files that cannot be used. `faults` are lines for people; no line holds a digest or a secret. */
export class AclFilesError extends Error {
  readonly faults: readonly string[];
  constructor(faults: readonly string[]) {
    super(`the ACL files cannot be used:\n${faults.map((fault) => `  ${fault}`).join("\n")}`);
    this.name = "AclFilesError";
    this.faults = faults;
  }
}

const maxTokenFileBytes = 64 * 1024 * 1024;
const maxPolicyFiles = 10_000;
/** `.hcl` is where Nomad's own policies lie: left out without a word, one that denies would not. */
const extension = /\.(?:yaml|yml|json|hcl)$/;

/** Reads a file unless it is too large; faults are added, not thrown. */
const read = async (
  file: string,
  maxBytes: number,
  faults: string[],
): Promise<{ readonly text: string; readonly index: number } | undefined> => {
  try {
    const { size, mtimeMs } = await stat(file);
    if (size > maxBytes) faults.push(`${file}: is larger than ${maxBytes} bytes`);
    else return { text: await readFile(file, "utf8"), index: Math.max(1, Math.floor(mtimeMs)) };
  } catch (error) {
    faults.push(`${file}: ${fileReason(error)}`);
  }
  return undefined;
};

/** The JSON form's text: a JSON file as it is, YAML written as JSON. */
const jsonText = (file: string, text: string): string => {
  if (file.endsWith(".json") || text === "") return text;
  const document = readDocument(text);
  return document.ok ? stringifyJson(document.value) : text;
};

const readPolicy = async (file: string, faults: string[]): Promise<StoredPolicy | undefined> => {
  const name = path.basename(file).replace(extension, "");
  if (!policyNamePattern.test(name)) {
    faults.push(`${file}: a policy's name is 1 to 128 letters, digits and hyphens`);
    return undefined;
  }
  const found = await read(file, maxPolicyBytes, faults);
  if (found === undefined) return undefined;
  const parsed = parsePolicyText(found.text, "strict");
  if (!parsed.ok) {
    for (const fault of parsed.faults)
      faults.push(`${file}: ${fault.path === "" ? "" : `${fault.path}: `}${fault.text}`);
    return undefined;
  }
  const text = jsonText(file, found.text);
  return { name, text, rules: parsed.rules, hash: policyHash(name, text), index: found.index };
};

const policyFiles = async (directory: string, faults: string[]): Promise<readonly string[]> => {
  try {
    const names = (await readdir(directory)).filter(
      (name) => !name.startsWith(".") && extension.test(name),
    );
    if (names.length <= maxPolicyFiles)
      return names.sort().map((name) => path.join(directory, name));
    faults.push(`${directory}: holds more than ${maxPolicyFiles} policies`);
  } catch (error) {
    faults.push(`${directory}: ${fileReason(error)}`);
  }
  return [];
};

const readPolicies = async (directory: string, faults: string[]): Promise<Policies> => {
  const policies: StoredPolicy[] = [];
  for (const file of await policyFiles(directory, faults)) {
    const policy = await readPolicy(file, faults);
    if (policy === undefined) continue;
    if (policies.some(({ name }) => name === policy.name))
      faults.push(`${file}: the policy ${policy.name} is given in another file as well`);
    else policies.push(policy);
  }
  return new Policies(policies);
};

const noTokens = { tokens: [], roles: [], tokensIndex: 1 };

const readTokens = async (
  file: string,
  faults: string[],
): Promise<Pick<AclState, "tokens" | "roles" | "tokensIndex">> => {
  const found = await read(file, maxTokenFileBytes, faults);
  if (found === undefined) return noTokens;
  const parsed = readTokenFile(found.text);
  if (parsed.ok) return { ...parsed.file, tokensIndex: found.index };
  faults.push(...parsed.faults.map((fault) => `${file}: ${fault}`));
  return noTokens;
};

/** Reads everything. Throws AclFilesError with all faults of all files. */
export const readAclFiles = async (files: AclFiles): Promise<AclState> => {
  const faults: string[] = [];
  const policies =
    files.policiesDirectory === undefined
      ? new Policies([])
      : await readPolicies(files.policiesDirectory, faults);
  const tokens =
    files.tokensFile === undefined ? noTokens : await readTokens(files.tokensFile, faults);
  if (faults.length > 0) throw new AclFilesError(faults);
  return { policies, ...tokens };
};

const stampOf = async (file: string): Promise<string> => {
  try {
    const { mtimeNs, size, ino } = await stat(file, { bigint: true });
    return `${file} ${mtimeNs} ${size} ${ino}`;
  } catch (error) {
    return `${file} ${errnoOf(error) ?? String(error)}`;
  }
};

/** Changes whenever a file does, appears or goes. Cheap: nothing is read. */
export const stampAclFiles = async (files: AclFiles): Promise<string> => {
  const directory = files.policiesDirectory;
  const paths = [
    ...(files.tokensFile === undefined ? [] : [files.tokensFile]),
    ...(directory === undefined ? [] : await policyFiles(directory, [])),
  ];
  return (await Promise.all(paths.map(stampOf))).join("\n");
};
