/** An issuer of JWTs as configured, and how its claims become policies. Pure. */
import { isLoopback } from "../lib/addresses.ts";
import { isJsonObject, type Json, type JsonObject } from "../lib/json.ts";
import { globMatcher } from "./glob.ts";

/** One family of algorithms an issuer: a token cannot choose another. */
export type AlgorithmFamily = "RS" | "PS" | "ES";

/** A claim's value (or one of its values, when it is a list) against a word or a pattern with `*`. */
export type Binding = {
  /** A claim's name; `a.b` reaches into objects when no claim bears the whole name. */
  readonly claim: string;
} & ({ readonly value: string } | { readonly glob: string }) &
  ({ readonly policies: readonly string[] } | { readonly management: true });

export type IssuerKeys =
  | { readonly jwksUri: string }
  | { readonly jwksFile: string }
  /** PEM texts. */
  | { readonly publicKeys: readonly string[] };

export type Issuer = {
  readonly issuer: string;
  readonly audiences: readonly string[];
  readonly algorithms: AlgorithmFamily;
  readonly bindings: readonly Binding[];
} & IssuerKeys;

/** What is wrong with an issuer's settings; undefined when they are sound. */
export const issuerFault = (issuer: Issuer): string | undefined => {
  if (issuer.issuer === "") return "issuer must not be empty";
  if (issuer.audiences.length === 0) return "audiences must name at least one audience";
  if (issuer.bindings.length === 0) return "bindings must hold at least one binding";
  if ("publicKeys" in issuer && issuer.publicKeys.length === 0)
    return "publicKeys must hold at least one key";
  if (!("jwksUri" in issuer)) return undefined;
  if (!URL.canParse(issuer.jwksUri)) return "jwksUri must be a URL";
  const { protocol, hostname } = new URL(issuer.jwksUri);
  if (protocol === "https:" || (protocol === "http:" && isLoopback(hostname))) return undefined;
  return "jwksUri must be https (http to a loopback address alone): who can change the keys can be anybody";
};

const claimOf = (claims: JsonObject, name: string): Json | undefined => {
  if (Object.hasOwn(claims, name)) return claims[name];
  let value: Json | undefined = claims;
  for (const part of name.split(".")) {
    if (!isJsonObject(value) || !Object.hasOwn(value, part)) return undefined;
    value = value[part];
  }
  return value;
};

const wordsOf = (value: Json | undefined): readonly string[] => {
  if (Array.isArray(value))
    return value.flatMap((item: Json) => (Array.isArray(item) ? [] : wordsOf(item)));
  if (typeof value === "string") return [value];
  return typeof value === "number" || typeof value === "boolean" ? [String(value)] : [];
};

export interface Bound {
  readonly management: boolean;
  readonly policies: readonly string[];
}

/** Compiles bindings. The result is undefined when none matches: such a token is nobody's. */
export const compileBindings = (
  bindings: readonly Binding[],
): ((claims: JsonObject) => Bound | undefined) => {
  const compiled = bindings.map((binding) => ({
    binding,
    matches:
      "glob" in binding ? globMatcher(binding.glob) : (word: string) => word === binding.value,
  }));
  return (claims) => {
    const matching = compiled.filter(({ binding, matches }) =>
      wordsOf(claimOf(claims, binding.claim)).some(matches),
    );
    if (matching.length === 0) return undefined;
    return {
      management: matching.some(({ binding }) => "management" in binding),
      policies: matching.flatMap(({ binding }) => ("policies" in binding ? binding.policies : [])),
    };
  };
};
