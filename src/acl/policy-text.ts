/**
 * A policy's text: JSON, or YAML of the same form. Nomad's HCL is recognised and refused with how to write it instead;
 * keys given twice are refused, where Nomad's parser would merge them.
 */
import { parseDocument } from "yaml";
import { type Json, parseJson } from "../lib/json.ts";
import { type ParsedPolicy, type PolicyMode, parsePolicy } from "./policy.ts";

/** Bytes of one policy document. */
export const maxPolicyBytes = 1024 * 1024;

const hclBlock =
  /^\s*(?:namespace|node_pool|host_volume|agent|node|operator|sentinel|quota|plugin)\b[ \t]*(?:"[^"]*"|[\w*-]+)?[ \t]*=?[ \t]*\{/im;

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

const firstLine = (text: string): string => text.split("\n", 1)[0] ?? "";

/** The document of a text, or the words for why there is none. */
export const readDocument = (
  text: string,
): { readonly ok: true; readonly value: Json } | { readonly ok: false; readonly text: string } => {
  const json = jsonOf(text);
  const document = parseDocument(text, { uniqueKeys: true, stringKeys: true, logLevel: "silent" });
  const errors = document.errors.filter(
    ({ code }) => json === undefined || code === "DUPLICATE_KEY",
  );
  if (errors[0]) return { ok: false, text: firstLine(errors[0].message) };
  if (json !== undefined) return { ok: true, value: json };
  try {
    const value: Json = document.toJS({ maxAliasCount: 64 });
    return { ok: true, value };
  } catch (error) {
    return { ok: false, text: error instanceof Error ? firstLine(error.message) : "no document" };
  }
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
