/** The ACL routes of Nomad's servers, with the answers of Nomad 2.0.5: one cluster, any number of its servers. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { SourceRules } from "./nomad-rules.ts";
import { listen, type TestServer } from "./support.ts";

export interface ClusterToken {
  readonly AccessorID: string;
  readonly Type: "client" | "management";
  readonly Policies?: readonly string[];
  readonly Roles?: readonly string[];
  readonly ExpirationTime?: string;
}

/** What the servers of one cluster know. Tests change it as they go. */
export interface Cluster {
  readonly tokens: Map<string, ClusterToken>;
  readonly roles: Map<string, readonly string[]>;
  readonly policies: Map<string, { readonly index: number; readonly rules: SourceRules }>;
  /** JWTs of allocations that run, and the policies of their jobs. */
  readonly identities: Map<string, readonly string[]>;
  readonly nowMs: () => number;
}

export const cluster = (nowMs: () => number = Date.now): Cluster => ({
  tokens: new Map(),
  roles: new Map(),
  policies: new Map(),
  identities: new Map(),
  nowMs,
});

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

export interface AclServer extends TestServer {
  readonly asked: { readonly path: string; readonly secret: string | undefined }[];
  /** This server's own switch. */
  acls: boolean;
  /** An agent's switch before servers with theirs: token/self goes by the one, the rest by the other. */
  selfAcls: boolean | undefined;
  /** Takes the place of every answer. */
  instead: Answer | undefined;
}

type Told = readonly [status: number, body: unknown];

const denied: Told = [403, "Permission denied"];
const off: Told = [400, "ACL support disabled"];

const token = (fields: Partial<ClusterToken> & { readonly Name: string }): object => ({
  ExpirationTTL: "",
  SecretID: "",
  Policies: null,
  Roles: null,
  Global: false,
  Hash: null,
  CreateTime: "0001-01-01T00:00:00Z",
  ExpirationTime: null,
  CreateIndex: 0,
  ModifyIndex: 0,
  ...fields,
});

const isExpired = ({ nowMs }: Cluster, { ExpirationTime }: ClusterToken): boolean =>
  ExpirationTime !== undefined && Date.parse(ExpirationTime) < nowMs();

/** The policies of whoever presents a secret; undefined is nobody's, "all" a manager's. */
const held = (known: Cluster, secret: string): readonly string[] | "all" | undefined => {
  if (secret === "") return ["anonymous"];
  const identity = known.identities.get(secret);
  if (identity) return identity;
  const found = known.tokens.get(secret.toLowerCase());
  if (found === undefined || isExpired(known, found)) return undefined;
  if (found.Type === "management") return "all";
  const roles = (found.Roles ?? []).flatMap((role) => known.roles.get(role) ?? []);
  return [...new Set([...(found.Policies ?? []), ...roles])];
};

const self = (known: Cluster, secret: string): Told => {
  const found = known.tokens.get(secret.toLowerCase());
  if (known.identities.has(secret)) return [404, "ACL token not found"];
  if (found === undefined)
    return secret.includes("-") ? denied : [500, "failed to parse signed token: go-jose/go-jose"];
  if (isExpired(known, found)) return [500, "ACL token expired"];
  const Roles = found.Roles?.map((Name) => ({ ID: Name, Name })) ?? null;
  return [200, { ...token({ Name: "t", ...found, Roles: [] }), SecretID: secret, Roles }];
};

const stub = (Name: string, index: number): object => ({
  Name,
  Description: "",
  JobACL: null,
  Hash: `hash-${Name}-${index}`,
  CreateIndex: 1,
  ModifyIndex: index,
});

const list = (known: Cluster, secret: string, prefix: string): Told => {
  const names = held(known, secret);
  if (names === undefined) return denied;
  const seen = [...known.policies].filter(
    ([name]) => (names === "all" || names.includes(name)) && name.startsWith(prefix),
  );
  return [200, seen.map(([name, { index }]) => stub(name, index))];
};

const policy = (known: Cluster, secret: string, name: string): Told => {
  const names = held(known, secret);
  if (names !== "all" && !names?.includes(name)) return denied;
  const found = known.policies.get(name);
  if (found === undefined) return [404, "ACL policy not found"];
  return [200, { ...stub(name, found.index), Rules: "", RulesJSON: found.rules }];
};

const answer = (known: Cluster, server: AclServer, secret: string, url: URL): Told => {
  if (url.pathname === "/v1/acl/token/self")
    return (server.selfAcls ?? server.acls)
      ? self(known, secret)
      : [200, token({ AccessorID: "acls-disabled", Name: "ACLs disabled token", Type: "client" })];
  if (!server.acls) return off;
  return url.pathname === "/v1/acl/policies"
    ? list(known, secret, url.searchParams.get("prefix") ?? "")
    : policy(known, secret, url.pathname.replace("/v1/acl/policy/", ""));
};

export const aclServer = async (known: Cluster): Promise<AclServer> => {
  const asked: AclServer["asked"] = [];
  const started = await listen((request, response) => {
    const header = request.headers["x-nomad-token"];
    const secret = typeof header === "string" ? header : undefined;
    asked.push({ path: request.url ?? "", secret });
    if (server.instead) return server.instead(request, response);
    const url = new URL(request.url ?? "", "http://server");
    const [status, body] = answer(known, server, secret ?? "", url);
    response.writeHead(status).end(typeof body === "string" ? body : JSON.stringify(body));
  });
  const server: AclServer = {
    origin: started.origin,
    asked,
    acls: true,
    selfAcls: undefined,
    instead: undefined,
    [Symbol.asyncDispose]: () => started[Symbol.asyncDispose](),
  };
  return server;
};
