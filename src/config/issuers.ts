/** Issuers of JWTs as settings: whose tokens are taken, and what their claims are worth. */
import type { z } from "zod";
import { isLoopback } from "../lib/addresses.ts";
import { argumentList, filePath, flag, httpUrl, oneOf, text, texts } from "./kinds.ts";
import { list, optional, required, setting } from "./settings.ts";
import { type Check, faultsOf } from "./sound.ts";

// biome-ignore format: a table
const bindings = list("What claims are worth; all that match count", {
  claim: required(text, "a claim's name; `a.b` reaches into objects"),
  value: optional(text, "the claim, or one of its values, is this"),
  glob: optional(text, "or matches this pattern with `*`"),
  policies: setting(texts, [], "policies that it gives"),
  management: setting(flag, false, "or the right to everything"),
});

// biome-ignore format: a table
export const issuers = list("Issuers whose JWTs are taken as credentials", {
  issuer: required(text, "the `iss` claim, compared exactly"),
  jwks_uri: optional(httpUrl, "where its keys are fetched"),
  jwks_file: optional(filePath, "or a JWKS file, read again when it changes"),
  public_keys: setting(argumentList, [], "or public keys in PEM"),
  audiences: required(texts, "one of these must be in the `aud` claim"),
  algorithms: setting(oneOf("RS", "PS", "ES"), "RS", "the family its tokens are signed with: RS256, RS384, RS512 and so on"),
  bindings,
});

type Issuer = z.output<typeof issuers.schema>[number];
type Binding = Issuer["bindings"][number];
const isPlain = (uri: string | undefined): boolean =>
  uri?.startsWith("http:") === true && !isLoopback(new URL(uri).hostname);

const bindingChecks: readonly Check<[Binding, path: string]>[] = [
  ({ value, glob }, path) =>
    (value === undefined) === (glob === undefined) && `${path}: needs one of value and glob`,
  ({ management, policies }, path) =>
    management === policies.length > 0 && `${path}: needs one of policies and management: true`,
];

const issuerChecks: readonly Check<[Issuer, path: string]>[] = [
  ({ jwksUri, jwksFile, publicKeys }, path) =>
    [jwksUri, jwksFile, publicKeys[0]].filter((source) => source !== undefined).length !== 1 &&
    `${path}: needs exactly one of jwks_uri, jwks_file and public_keys`,
  ({ audiences }, path) => audiences.length === 0 && `${path}.audiences: must name at least one`,
  ({ bindings }, path) => bindings.length === 0 && `${path}.bindings: must hold at least one`,
  ({ jwksUri }, path) => isPlain(jwksUri) && `${path}.jwks_uri: must be https://`,
  ({ bindings }, path) =>
    bindings.flatMap((binding, at) => faultsOf(bindingChecks, binding, `${path}.bindings.${at}`)),
];

/** What no single row can say. */
export const issuerFaults = (issuer: Issuer, at: number): readonly string[] =>
  faultsOf(issuerChecks, issuer, `acl.jwt.issuers.${at}`);
