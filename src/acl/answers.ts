/**
 * The ACL routes a caller may ask about itself: its token, its policies, one policy with its rules (nomad-acl.md §3).
 * An agent, or anything else that trusts this gateway, resolves a caller with nothing but the caller's own secret here.
 */
import { GatewayError, invalidRequest, notFound } from "../errors.ts";
import type { JsonObject } from "../lib/json.ts";
import { one } from "../parameters.ts";
import type { Answer, Answered, Exchange, Principal } from "../ports.ts";
import type { FileSource, HeldToken } from "./file-source.ts";
import type { StoredPolicy } from "./policies.ts";
import { anonymousPolicy, refused } from "./principals.ts";
import { toRulesJson } from "./rules.ts";
import { isTokenShaped } from "./secrets.ts";

export interface AclAnswersOptions {
  /** False: ACLs are off. */
  readonly enabled: boolean;
}

export type AclRoute = "acl.token.self" | "acl.policies" | "acl.policy";

const indexed = (index: number): Readonly<Record<string, string>> => ({
  "X-Nomad-Index": String(index),
  "X-Nomad-Knownleader": "true",
  "X-Nomad-Lastcontact": "0",
});

const orNull = <T>(list: readonly T[] | null | undefined): readonly T[] | null =>
  list && list.length > 0 ? list : null;

const zeroTime = "0001-01-01T00:00:00Z";

/** A token that is in no file: the anonymous one, a JWT's, or the one of a gateway whose ACLs are off. */
const pseudoToken = (
  fields: Pick<Principal, "accessorId" | "name" | "type"> & {
    readonly policies: readonly string[];
  },
): JsonObject => ({
  ExpirationTTL: "",
  AccessorID: fields.accessorId,
  SecretID: "",
  Name: fields.name,
  Type: fields.type,
  Policies: orNull(fields.policies),
  Roles: null,
  Global: false,
  Hash: null,
  CreateTime: zeroTime,
  ExpirationTime: null,
  CreateIndex: 0,
  ModifyIndex: 0,
});

const tokenDocument = (
  { token, roles, hash }: HeldToken,
  secret: string,
  index: number,
): JsonObject => ({
  ExpirationTTL: "",
  AccessorID: token.AccessorID,
  SecretID: secret,
  Name: token.Name,
  Type: token.Type,
  Policies: orNull(token.Policies),
  Roles: orNull(roles.map(({ ID, Name }) => ({ ID, Name }))),
  Global: false,
  Hash: hash,
  CreateTime: token.CreateTime ?? zeroTime,
  ExpirationTime: token.ExpirationTime ?? null,
  CreateIndex: index,
  ModifyIndex: index,
});

const secretOf = ({ credential }: Exchange): string => credential.secret?.trim() ?? "";

const tokenSelf = (source: FileSource, exchange: Exchange, principal: Principal): Answered => {
  const secret = secretOf(exchange);
  if (secret === "") {
    const { accessorId, name, type } = principal;
    return {
      document: pseudoToken({ accessorId, name, type, policies: [anonymousPolicy] }),
      headers: indexed(0),
    };
  }
  const headers = indexed(source.tokensIndex);
  if (isTokenShaped(secret)) {
    const held = source.held(secret);
    if (held === undefined) return { refusal: refused() }; // deleted since it was authenticated
    return { document: tokenDocument(held, secret.toLowerCase(), source.tokensIndex), headers };
  }
  // A JWT is no token: its holder goes on to its policies. One that manages has none to be told of, so it is told here.
  return principal.type === "management"
    ? { document: pseudoToken(principal), headers }
    : { refusal: notFound("ACL token not found"), headers };
};

const stub = ({ name, hash, index }: StoredPolicy): JsonObject => ({
  Name: name,
  Description: "",
  JobACL: null,
  Hash: hash,
  CreateIndex: index,
  ModifyIndex: index,
});

const visible = (source: FileSource, principal: Principal): readonly StoredPolicy[] =>
  principal.acl.management
    ? source.policies.all
    : source.policies.all.filter(({ name }) => principal.policies.includes(name));

const policiesList = (source: FileSource, exchange: Exchange, principal: Principal): Answered => {
  const prefix = one(exchange.raw, "prefix") ?? "";
  return {
    document: visible(source, principal)
      .filter(({ name }) => name.startsWith(prefix))
      .map(stub),
    headers: indexed(source.index),
  };
};

const policyDocument = (policy: StoredPolicy): JsonObject => {
  const { Name, Description, ...rest } = stub(policy);
  return {
    Name: Name ?? "",
    Description: Description ?? "",
    Rules: policy.text,
    RulesJSON: toRulesJson(policy.rules, policy.text),
    ...rest,
  };
};

/** A name in the token's own list, whether or not there is such a policy. */
const namesItself = (source: FileSource, exchange: Exchange, name: string): boolean => {
  const secret = secretOf(exchange);
  return isTokenShaped(secret) && source.held(secret)?.token.Policies?.includes(name) === true;
};

const policy = (source: FileSource, exchange: Exchange, principal: Principal): Answered => {
  const name = exchange.key;
  if (name === "") return { refusal: invalidRequest("Missing Policy Name") };
  if (name === "self")
    return secretOf(exchange) === ""
      ? { refusal: refused() }
      : policiesList(source, exchange, principal);
  const mayKnow =
    name === anonymousPolicy ||
    principal.acl.management ||
    principal.policies.includes(name) ||
    namesItself(source, exchange, name);
  if (!mayKnow) return { refusal: refused() };
  const found = source.policies.get(name);
  if (found === undefined)
    return { refusal: notFound("ACL policy not found"), headers: indexed(source.index) };
  return { document: policyDocument(found), headers: indexed(found.index) };
};

const aclsOff = (): Answered => ({
  refusal: new GatewayError("invalid_request", { text: "ACL support disabled" }),
});

/** The answers by their routes' names. */
export const createAclAnswers = (
  { source }: { readonly source: FileSource },
  { enabled }: AclAnswersOptions,
): Readonly<Record<AclRoute, Answer>> => {
  if (!enabled)
    return {
      "acl.token.self": (_exchange, { accessorId, name, type }) => ({
        document: pseudoToken({ accessorId, name, type, policies: [] }),
        headers: indexed(0),
      }),
      "acl.policies": aclsOff,
      "acl.policy": aclsOff,
    };
  return {
    "acl.token.self": (exchange, principal) => tokenSelf(source, exchange, principal),
    "acl.policies": (exchange, principal) => policiesList(source, exchange, principal),
    "acl.policy": (exchange, principal) => policy(source, exchange, principal),
  };
};
