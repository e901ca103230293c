/** An issuer of JWTs in front of a cluster, and what the cluster's servers say to the service token that stands in for them. */
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import jwt from "jsonwebtoken";
import { inNamespace, rules, type SourceRules } from "../acl/nomad-rules.ts";
import type { ScriptedNomad } from "./scripted-nomad.ts";

const own = generateKeyPairSync("ec", { namedCurve: "P-256" });
export const foreignKey = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;

export const issuer = "https://issuer.test";
export const serviceToken = "5e4c0000-1111-4222-8333-444444444444";

/** Whole seconds, as JWTs count them. */
export const nowSeconds = (): number => Math.floor(Date.now() / 1_000);

export interface Signing {
  readonly key?: KeyObject;
  readonly iss?: string;
  readonly aud?: string;
  readonly sub?: string;
  readonly iat?: number;
  readonly exp?: number;
}

export const signed = (
  groups: readonly string[],
  { key = own.privateKey, iss = issuer, aud = "serai", sub = "alice", iat, exp }: Signing = {},
): string =>
  jwt.sign(
    { groups, iss, aud, sub, iat: iat ?? nowSeconds(), exp: exp ?? nowSeconds() + 600 },
    key,
    { algorithm: "ES256" },
  );

const everyGroup = ["viewer", "shell", "halfshell", "keeper", "operator", "everywhere"];

/** Over a gateway's settings. */
export const issuerSettings = {
  acl: {
    jwt: {
      issuers: [
        {
          issuer,
          audiences: ["serai"],
          algorithms: "ES",
          public_keys: [own.publicKey.export({ type: "spki", format: "pem" }).toString()],
          bindings: [
            ...everyGroup.map((name) => ({ claim: "groups", value: name, policies: [name] })),
            { claim: "groups", value: "admins", management: true },
          ],
        },
      ],
    },
  },
  nomad: { service_token: serviceToken },
};

const rights = ["list-jobs", "read-job", "read-fs", "read-logs"];
const running = ["alloc-exec", "alloc-node-exec", "alloc-lifecycle"];

/** What the service token itself may. */
const serviceRules = rules({
  Namespaces: [{ Name: "*", Policy: "", Capabilities: [...rights, ...running], Variables: null }],
  Node: { Policy: "write" },
  Agent: { Policy: "write" },
});

export type HeldPolicies = Map<string, SourceRules>;

const policiesOfGroups = (): HeldPolicies =>
  new Map([
    ["viewer", inNamespace("default", ...rights)],
    ["shell", inNamespace("default", "alloc-exec", "alloc-node-exec")],
    ["halfshell", inNamespace("default", "alloc-exec")],
    ["keeper", inNamespace("default", "alloc-lifecycle")],
    ["operator", rules({ Node: { Policy: "read" }, Agent: { Policy: "read" } })],
    ["everywhere", inNamespace("*", ...rights)],
  ]);

const send = (response: ServerResponse, status: number, body: unknown): void => {
  response.writeHead(status).end(typeof body === "string" ? body : JSON.stringify(body));
};

const policy = (Name: string, RulesJSON: SourceRules): object => ({
  Name,
  Hash: `hash-${Name}`,
  CreateIndex: 1,
  ModifyIndex: 1,
  Rules: "",
  RulesJSON,
});

/** Before what a server says already: the answers to whoever shows one of these secrets. */
const before = (
  nomad: ScriptedNomad,
  path: string,
  secret: string,
  answer: (response: ServerResponse) => void,
): void => {
  const others = nomad.overrides.get(path);
  const next: RequestListener = (request, response) =>
    others ? others(request, response) : nomad.answer(request, response);
  nomad.overrides.set(path, (request: IncomingMessage, response: ServerResponse) => {
    if (request.headers["x-nomad-token"] === secret) answer(response);
    else next(request, response);
  });
};

const permit = (nomad: ScriptedNomad, secret: string): void => {
  const { permits } = nomad;
  nomad.permits = (token) => token === secret || permits(token);
};

/** The policies of the groups, which a test may change. */
export const scriptService = (nomad: ScriptedNomad): HeldPolicies => {
  const held = policiesOfGroups();
  permit(nomad, serviceToken);
  before(nomad, "/v1/acl/token/self", serviceToken, (response) =>
    send(response, 200, {
      AccessorID: "accessor-service",
      SecretID: serviceToken,
      Name: "service",
      Type: "client",
      Policies: ["service"],
      ExpirationTime: null,
    }),
  );
  before(nomad, "/v1/acl/policies", serviceToken, (response) =>
    send(response, 200, [policy("service", serviceRules)]),
  );
  before(nomad, "/v1/acl/policy/service", serviceToken, (response) =>
    send(response, 200, policy("service", serviceRules)),
  );
  for (const name of held.keys())
    before(nomad, `/v1/acl/policy/${name}`, serviceToken, (response) => {
      const found = held.get(name);
      if (found === undefined) send(response, 404, "ACL policy not found");
      else send(response, 200, policy(name, found));
    });
  return held;
};

/** A JWT that the servers have signed themselves: it has no token, and the policies of its job. */
export const scriptWorkload = (nomad: ScriptedNomad, secret: string, given: SourceRules): void => {
  permit(nomad, secret);
  before(nomad, "/v1/acl/token/self", secret, (response) =>
    send(response, 404, "ACL token not found"),
  );
  before(nomad, "/v1/acl/policies", secret, (response) =>
    send(response, 200, [policy("workload", given)]),
  );
  before(nomad, "/v1/acl/policy/workload", secret, (response) =>
    send(response, 200, policy("workload", given)),
  );
};
