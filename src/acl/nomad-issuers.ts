/** JWTs of configured issuers beside the credentials that Nomad's servers know. */
import { GatewayError } from "../errors.ts";
import type { Credential, Principal } from "../ports.ts";
import type { IdentitySources, Resolve } from "./authenticate.ts";
import { claimsOf } from "./caller.ts";
import type { Issuer } from "./jwt-issuer.ts";
import type { JwtSource } from "./jwt-source.ts";
import { disabledPrincipal } from "./principals.ts";
import { isTokenShaped } from "./secrets.ts";

/**
 * Tells the JWTs of configured issuers from Nomad's own by their `iss`. No server and no client agent of Nomad's knows such
 * a JWT: what is asked of them for its holder has to bear the gateway's own token (`upstream: service`).
 */
export const issuerTest = (
  issuers: readonly Pick<Issuer, "issuer">[],
): ((secret: string) => boolean) => {
  const known = new Set(issuers.map(({ issuer }) => issuer));
  return (secret) => {
    if (known.size === 0 || isTokenShaped(secret)) return false;
    const { iss } = claimsOf(secret);
    return typeof iss === "string" && known.has(iss);
  };
};

/** Undefined: the servers look at credentials, whatever they let anonymous callers see. */
const disabled = async (
  { anonymous }: IdentitySources,
  signal: AbortSignal,
): Promise<Principal | undefined> => {
  try {
    const anyone = await anonymous(signal);
    return anyone === disabledPrincipal ? anyone : undefined;
  } catch (error) {
    if (error instanceof GatewayError && error.code === "permission_denied") return undefined;
    throw error;
  }
};

/** A JWT of a configured issuer is verified here, any other credential by the servers. ACLs off count for both. */
export const withIssuers = (
  nomad: IdentitySources & { readonly jwt: Resolve },
  jwt: JwtSource,
  ofIssuer: (secret: string) => boolean,
): IdentitySources => {
  const verified: Resolve = async (secret, signal, credential) => {
    const anyone = await disabled(nomad, signal);
    return anyone ?? { ...(await jwt.jwt(secret, signal, credential)), upstream: "service" };
  };
  return {
    anonymous: nomad.anonymous,
    token: nomad.token,
    jwt: (secret, signal, credential) =>
      ofIssuer(secret)
        ? verified(secret, signal, credential)
        : nomad.jwt(secret, signal, credential),
  };
};

/**
 * What agents and servers are shown for a caller's credential: the service token for a JWT that was verified here, and nothing
 * for one that was not, because ACLs are off; any other one as it is.
 */
export const shownUpstream =
  (ofIssuer: (secret: string) => boolean, serviceToken: () => string) =>
  (credential: Credential, { upstream }: Principal): Credential => {
    if (upstream === "service") return { secret: serviceToken(), source: "header" };
    return ofIssuer(credential.secret ?? "") ? { secret: undefined, source: "none" } : credential;
  };
