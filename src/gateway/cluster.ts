/** In front of a Nomad cluster: its servers say who exists and who may; what is not carried is passed on to them. */
import { createAuthenticate } from "../acl/authenticate.ts";
import { type OwnRights, readOwnRights } from "../acl/nomad-own-token.ts";
import { createNomadSource } from "../acl/nomad-source.ts";
import type { ServerConfig } from "../config/server-schema.ts";
import type { ToServers } from "../ingress/passing.ts";
import { createServers, type Servers } from "../nomad/servers.ts";
import { followAclEvents } from "../registry/nomad/acl-events.ts";
import { createNomadFeed } from "../registry/nomad/feed.ts";
import { authenticateWith, type Identity } from "./identity.ts";
import { type Issuers, openIssuers } from "./issuers.ts";
import { observeIdentity, observeNomadFeed } from "./observing.ts";
import { openPassing } from "./passing.ts";
import { follow, type Home, type HomeNeeds } from "./registry.ts";
import { createVouching } from "./vouching.ts";
import { openWays } from "./ways.ts";

export interface Opened {
  readonly home: Home;
  readonly identity: Identity;
  /** The way to the servers for all that the gateway does not carry itself. */
  readonly passing: ToServers | undefined;
}

const openServers = ({ closers, tls }: HomeNeeds, config: ServerConfig): Servers =>
  closers.own(
    createServers({
      addresses: config.nomad.addresses,
      connectTimeoutMs: config.timeouts.connectMs,
      tls,
    }),
  );

/** What the gateway's own token is good for; one that is not set is nobody's. */
const ownRightsOf = async (servers: Servers, token: string | undefined): Promise<OwnRights> => {
  const rights = await readOwnRights({ servers }, token ?? "");
  if (token !== undefined || rights.missing.length === 0) return rights;
  return { ...rights, missing: ["a secret: it is not set", ...rights.missing] };
};

/** Callers' rights, and the way to say that they may have changed. */
interface Rights {
  readonly identity: Identity;
  readonly changed: () => void;
}

const openIdentity = (
  { clock, log, metrics, closers }: HomeNeeds,
  servers: Servers,
  issuers: Issuers | undefined,
  enabled: boolean,
): Rights => {
  const source = closers.own(
    createNomadSource({ clock, log, observe: observeIdentity(metrics), servers }),
  );
  const authenticateCredential = createAuthenticate(issuers?.beside(source) ?? source, {
    enabled,
    onAuthentication: metrics.credentialJudged,
  });
  const listeners = new Set<() => void>();
  const identity: Identity = {
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    reload: async () => {
      source.forget();
      const ok = (await issuers?.refresh()) ?? true;
      return ok
        ? { ok, changed: true }
        : { ok, faults: ["the Nomad servers do not tell the policies of JWTs"] };
    },
    authenticateCredential,
    authenticate: authenticateWith(authenticateCredential),
    shown: issuers?.shown ?? ((credential) => credential),
    answers: {},
    close: async () => {},
  };
  const tell = (): void => {
    for (const listener of listeners) listener();
  };
  if (issuers !== undefined) closers.defer(issuers.onChange(tell));
  const changed = (): void => {
    source.onAclEvent();
    void issuers?.refresh(); // never rejects; tells of itself when it was another's policies that changed
    tell();
  };
  return { identity, changed };
};

export const openCluster = async (needs: HomeNeeds, config: ServerConfig): Promise<Opened> => {
  const { clock, log, metrics, closers, tls, serverTokens } = needs;
  const servers = openServers(needs, config);
  const issuers = await openIssuers(needs, servers, config);
  const { identity, changed } = openIdentity(needs, servers, issuers, config.acl.enabled);
  const own = { token: () => serverTokens.token, region: config.region };
  const ownRights = () => ownRightsOf(servers, own.token());
  const feed = closers.own(
    createNomadFeed(
      {
        clock,
        log,
        servers,
        ownRights: async () => (await ownRights()).missing,
        observe: observeNomadFeed(metrics),
      },
      own,
    ),
  );
  const directory = follow(feed, needs, config.limits);
  if (config.acl.enabled)
    closers.own(
      followAclEvents(
        { clock, log, servers, ownKind: async () => (await ownRights()).kind, changed },
        own,
      ),
    );
  const vouching =
    issuers &&
    createVouching(
      { clock, log, audit: needs.audit, identity, directory },
      { region: config.region, ofIssuer: issuers.ofIssuer },
    );
  return {
    home: {
      feed,
      directory,
      findNode: (id, signal) => feed.nodes.find(id, signal),
      ways: openWays(needs, { feed, directory, servers, tls }, config),
      embedded: undefined,
    },
    identity,
    passing: openPassing(needs, { servers, tls, vouching }, config),
  };
};
