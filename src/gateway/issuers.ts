/** JWTs of configured issuers in front of a cluster: verified here, with the policies of the servers that their bindings name. */
import type { IdentitySources } from "../acl/authenticate.ts";
import { issuerTest, shownUpstream, withIssuers } from "../acl/nomad-issuers.ts";
import { createNomadPolicies } from "../acl/nomad-policies.ts";
import type { NomadSource } from "../acl/nomad-source.ts";
import type { ServerConfig } from "../config/server-schema.ts";
import type { Servers } from "../nomad/servers.ts";
import { type Identity, issuerOf } from "./identity.ts";
import { observeIdentity } from "./observing.ts";
import type { HomeNeeds } from "./registry.ts";

export interface Issuers {
  /** Beside the credentials that the servers know. */
  readonly beside: (nomad: NomadSource) => IdentitySources;
  /** True for a JWT that says it is one of theirs. */
  readonly ofIssuer: (secret: string) => boolean;
  readonly shown: Identity["shown"];
  /** Fires when policies have changed, or count no longer. */
  readonly onChange: Identity["onChange"];
  /** Reads the policies again; false when the servers cannot say. */
  readonly refresh: () => Promise<boolean>;
}

/** The longest that anybody has the rights of a policy that was changed: the age of what was read and of what was made of it. */
const maxPolicyAgeMs = 25_000;
const maxPrincipalAgeMs = 5_000;

/** Undefined without issuers. */
export const openIssuers = async (
  { clock, log, metrics, closers, serverTokens }: HomeNeeds,
  servers: Servers,
  { acl }: ServerConfig,
): Promise<Issuers | undefined> => {
  const issuers = acl.jwt.issuers.map(issuerOf);
  if (issuers.length === 0 || serverTokens.serviceToken === undefined) return undefined;
  const token = (): string => serverTokens.serviceToken ?? "";
  const policies = closers.own(
    await createNomadPolicies(
      { clock, log, servers, token },
      {
        names: issuers.flatMap(({ bindings }) =>
          bindings.flatMap((binding) => ("policies" in binding ? binding.policies : [])),
        ),
        maxAgeMs: maxPolicyAgeMs,
      },
    ),
  );
  const { createJwtSource } = await import("../acl/jwt-source.ts");
  const jwts = createJwtSource(
    { clock, log, policies, observe: observeIdentity(metrics) },
    { issuers, cache: { ttlMs: maxPrincipalAgeMs } },
  );
  closers.defer(() => jwts.close());
  const ofIssuer = issuerTest(issuers);
  return {
    beside: (nomadSource) => withIssuers(nomadSource, jwts, ofIssuer),
    ofIssuer,
    shown: shownUpstream(ofIssuer, token),
    onChange: (listener) => policies.onChange(listener),
    refresh: () => policies.refresh(),
  };
};
