/**
 * A policy's text: JSON, or YAML of the same form. Nomad's HCL is recognised and refused with how to write it instead;
 * keys given twice are refused, where Nomad's parser would merge them.
 */
import { parseDocument } from "yaml";
import { firstLine } from "../lib/first-line.ts";
import { isJsonObject, type Json, parseJson } from "../lib/json.ts";
import { type ParsedPolicy, type PolicyMode, parsePolicy } from "./policy.ts";

/** Bytes of one policy document. */
export const maxPolicyBytes = 1024 * 1024;

const hclBlock =
  /^[ \t]*(?:namespace|node_pool|host_volume|agent|node|operator|sentinel|quota|plugin)\b[ \t]*(?:"[^"]*"|[\w*-]+)?[ \t]*=?[ \t]*\{/im;

const hclHint =
  'this is HCL; serai reads policies in Nomad\'s JSON form, as JSON or YAML: write `namespace "default" { policy = "read" }` ' +
  'as {"namespace": [{"default": {"policy": "read"}}]} and `node { policy = "read" }` as {"node": {"policy": "read"}}';

const refuse = (text: string): ParsedPolicy => ({
  ok: false,
  faults: [{ path: "", text: `Failed to parse ACL Policy: ${text}` }],
});

const jsonOf = (text: string): Json | undefined => {
  try {
    return parseJson(text);
  } catch {
    return undefined; // YAML then, whose parser says what is wrong
  }
};

const keysIn = (value: Json): number => {
  if (Array.isArray(value)) return value.reduce((sum: number, item: Json) => sum + keysIn(item), 0);
  if (!isJsonObject(value)) return 0;
  return Object.values(value).reduce<number>((sum, member) => sum + 1 + keysIn(member), 0);
};

/** Of a text that is valid JSON: every string before a colon is a key. */
const keysOfText = (text: string): number => {
  let keys = 0;
  for (const [, colon] of text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?/g)) if (colon) keys++;
  return keys;
};

export type ReadDocument =
  | { readonly ok: true; readonly value: Json }
  | { readonly ok: false; readonly text: string };

/** YAML holds the event loop for a second at this size, JSON for a tenth of that. */
const maxYamlBytes = 2 * 1024 * 1024;

const readYaml = (text: string): ReadDocument => {
  if (Buffer.byteLength(text) > maxYamlBytes)
    return { ok: false, text: `is YAML of more than ${maxYamlBytes} bytes; write it as JSON` };
  const document = parseDocument(text, { uniqueKeys: true, stringKeys: true, logLevel: "silent" });
  if (document.errors[0]) return { ok: false, text: firstLine(document.errors[0].message) };
  try {
    const value: Json = document.toJS({ maxAliasCount: 64 });
    return { ok: true, value };
  } catch (error) {
    return { ok: false, text: error instanceof Error ? firstLine(error.message) : "no document" };
  }
};

/** The document of a JSON or YAML text, or the words for why there is none. A key given twice is a fault. */
export const readDocument = (text: string): ReadDocument => {
  const json = jsonOf(text);
  if (json === undefined) return readYaml(text);
  return keysOfText(text) === keysIn(json)
    ? { ok: true, value: json }
    : { ok: false, text: "a key is given more than once in one object" };
};

export const parsePolicyText = (text: string, mode: PolicyMode): ParsedPolicy => {
  if (text === "") return parsePolicy("", mode);
  if (Buffer.byteLength(text) > maxPolicyBytes)
    return refuse(`the document is larger than ${maxPolicyBytes} bytes`);
  if (!text.trimStart().startsWith("{") && hclBlock.test(text)) return refuse(hclHint);
  const document = readDocument(text);
  if (!document.ok) return refuse(document.text);
  // A blank text or a lone comment is no document; only the empty text grants nothing.
  return parsePolicy(document.value === null ? {} : document.value, mode);
};
