/** Where principals come from, as configured: files, JWTs of known issuers, the anonymous policy. */
import { compileAcl } from "../acl/acl.ts";
import { createAclAnswers } from "../acl/answers.ts";
import { createAuthenticate } from "../acl/authenticate.ts";
import { openFileSource, type Reloaded } from "../acl/file-source.ts";
import type { AlgorithmFamily, Binding, Issuer, IssuerKeys } from "../acl/jwt-issuer.ts";
import type { JwtNeeds, JwtSource } from "../acl/jwt-source.ts";
import type { ServerConfig } from "../config/server-schema.ts";
import type { Metrics } from "../observe/metrics.ts";
import type {
  Answer,
  Authenticate,
  Clock,
  Credential,
  Exchange,
  Log,
  Principal,
} from "../ports.ts";
import { observeIdentity } from "./observing.ts";

type AclConfig = ServerConfig["acl"];
type IssuerConfig = AclConfig["jwt"]["issuers"][number];

export interface Identity {
  /** Fires when what callers may has changed. */
  readonly onChange: (listener: () => void) => () => void;
  /** Reads again what it was read from (SIGHUP). */
  readonly reload: () => Promise<Reloaded>;
  /** The step of the journey. */
  readonly authenticate: (exchange: Exchange) => Principal | Promise<Principal>;
  /** The same for a credential alone, for rechecks. */
  readonly authenticateCredential: Authenticate;
  /** What agents and servers are shown for a caller's credential. */
  readonly shown: (credential: Credential, principal: Principal) => Credential;
  readonly answers: Readonly<Record<string, Answer>>;
  close(signal: AbortSignal): Promise<void>;
}

/** For routes that need no right: no credential is looked at there, as in Nomad. */
const nobody: Principal = {
  accessorId: "anonymous",
  name: "nobody asked",
  type: "client",
  policies: [],
  acl: compileAcl([]),
  expiresAtMs: undefined,
};

/** The step of the journey; routes that need no right ask nobody. */
export const authenticateWith =
  (authenticate: Authenticate): Identity["authenticate"] =>
  ({ route, credential, signal }) =>
    route.rule.on === "nobody" ? nobody : authenticate(credential, signal);

const keysOf = ({ jwksUri, jwksFile, publicKeys }: IssuerConfig): IssuerKeys => {
  if (jwksUri !== undefined) return { jwksUri };
  return jwksFile !== undefined ? { jwksFile } : { publicKeys };
};

type BindingConfig = IssuerConfig["bindings"][number];

/** The schema has made sure that exactly one of each pair is there. */
const bindingOf = ({ claim, value, glob, policies, management }: BindingConfig): Binding => ({
  claim,
  ...(glob === undefined ? { value: value ?? "" } : { glob }),
  ...(management ? { management } : { policies }),
});

/** An issuer as configured. */
export const issuerOf = (config: IssuerConfig): Issuer => ({
  issuer: config.issuer,
  audiences: config.audiences,
  algorithms: config.algorithms satisfies AlgorithmFamily,
  bindings: config.bindings.map(bindingOf),
  ...keysOf(config),
});

/** What verifies JWTs is loaded only for those who have issuers. */
const openIssuers = async (
  needs: JwtNeeds,
  issuers: readonly IssuerConfig[],
): Promise<JwtSource | undefined> => {
  if (issuers.length === 0) return undefined;
  const { createJwtSource } = await import("../acl/jwt-source.ts");
  return createJwtSource(needs, { issuers: issuers.map(issuerOf) });
};

export const openIdentity = async (
  needs: { readonly clock: Clock; readonly log: Log; readonly metrics: Metrics },
  config: AclConfig,
): Promise<Identity> => {
  const source = await openFileSource(needs, {
    tokensFile: config.tokensFile,
    policiesDirectory: config.policiesDir,
  });
  const jwt = await openIssuers(
    { ...needs, policies: source, observe: observeIdentity(needs.metrics) },
    config.jwt.issuers,
  );
  const authenticateCredential = createAuthenticate(
    { anonymous: source.anonymous, token: source.token, jwt: jwt?.jwt },
    {
      enabled: config.enabled,
      onAuthentication: needs.metrics.credentialJudged,
    },
  );
  return {
    onChange: (listener) => source.onChange(listener),
    reload: () => source.reload(),
    authenticateCredential,
    authenticate: authenticateWith(authenticateCredential),
    shown: (credential) => credential,
    answers: createAclAnswers({ source }, { enabled: config.enabled }),
    close: async (signal) => {
      jwt?.close();
      await source.close(signal);
    },
  };
};
