/** In front of a Nomad cluster: its servers say who exists and who may; what is not carried is passed on to them. */

import type { IncomingMessage } from "node:http";
import { createAuthenticate } from "../acl/authenticate.ts";
import { type OwnRights, readOwnRights } from "../acl/nomad-own-token.ts";
import { createNomadSource } from "../acl/nomad-source.ts";
import { createPassThrough } from "../carry/pass-through/pass-through.ts";
import type { ServerConfig } from "../config/server-schema.ts";
import { GatewayError } from "../errors.ts";
import { asksForWebSocket } from "../http/upgrade.ts";
import { clientOf } from "../ingress/client.ts";
import type { PassThrough } from "../ingress/edge.ts";
import type { UpgradeListener } from "../ingress/upgrade.ts";
import { addressTest } from "../lib/addresses.ts";
import { createServers, type Servers, type ServersOptions } from "../nomad/servers.ts";
import { followAclEvents } from "../registry/nomad/acl-events.ts";
import { createNomadFeed } from "../registry/nomad/feed.ts";
import { authenticateWith, type Identity, readText } from "./identity.ts";
import { observeNomadFeed } from "./observing.ts";
import { follow, type Home, type HomeNeeds } from "./registry.ts";
import { openWays } from "./ways.ts";

/** The way to the servers for all that the gateway does not carry itself. */
export interface Passing {
  readonly http: PassThrough;
  readonly upgrade: UpgradeListener;
  readonly isUpgrade: (request: IncomingMessage) => boolean;
}

export interface Opened {
  readonly home: Home;
  readonly identity: Identity;
  readonly passing: Passing | undefined;
}

/** Bytes of a node document that is masked. */
const maxMaskedBytes = 4 * 1024 * 1024;

const jobAction = /^\/v1\/job\/[^?]+\/action(?:\?|$)/;

const tlsOf = ({ nomad, region }: ServerConfig): ServersOptions["tls"] =>
  nomad.addresses.every((address) => address.startsWith("http:"))
    ? undefined
    : {
        ca: readText(nomad.caFile),
        cert: readText(nomad.certFile),
        key: readText(nomad.keyFile),
        servername: `server.${region}.nomad`,
      };

const openServers = ({ closers }: HomeNeeds, config: ServerConfig): Servers =>
  closers.own(
    createServers({
      addresses: config.nomad.addresses,
      connectTimeoutMs: config.timeouts.connectMs,
      tls: tlsOf(config),
    }),
  );

/** What the gateway's own token is good for; one that is not set is nobody's. */
const ownRightsOf = async (servers: Servers, token: string | undefined): Promise<OwnRights> => {
  const rights = await readOwnRights({ servers }, token ?? "");
  if (token !== undefined || rights.missing.length === 0) return rights;
  return { ...rights, missing: ["a secret: it is not set", ...rights.missing] };
};

const lookups = { accepted: "hit", refused: "miss", unavailable: "failed" } as const;

/** Callers' rights, and the way to say that they may have changed. */
interface Rights {
  readonly identity: Identity;
  readonly changed: () => void;
}

const openIdentity = (
  { clock, log, metrics, closers }: HomeNeeds,
  servers: Servers,
  enabled: boolean,
): Rights => {
  const source = closers.own(createNomadSource({ clock, log, servers }));
  const authenticateCredential = createAuthenticate(source, {
    enabled,
    onAuthentication: (_kind, result) => metrics.identityLookedUp(lookups[result]),
  });
  const listeners = new Set<() => void>();
  const identity: Identity = {
    onChange: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    reload: async () => {
      source.forget();
      return { ok: true, changed: true };
    },
    authenticateCredential,
    authenticate: authenticateWith(authenticateCredential),
    answers: {},
    close: async () => {},
  };
  const changed = (): void => {
    source.onAclEvent();
    for (const listener of listeners) listener();
  };
  return { identity, changed };
};

const openPassing = (needs: HomeNeeds, servers: Servers, config: ServerConfig): Passing => {
  const { nomad, region, http, timeouts } = config;
  const through = needs.closers.own(
    createPassThrough(
      { log: needs.log, servers },
      {
        mask: nomad.maskAddress,
        maxMaskedBytes,
        region,
        tls: tlsOf(config),
        connectTimeoutMs: timeouts.connectMs,
      },
    ),
  );
  const isTrusted = addressTest(http.trustProxy);
  return {
    http: (request, response, context) => through.http(request, response, context),
    isUpgrade: (request) => asksForWebSocket(request) && jobAction.test(request.url ?? ""),
    upgrade: (request, socket, head) => {
      const gone = new AbortController();
      socket.once("close", () => gone.abort(new GatewayError("client_closed")));
      through.upgrade(request, socket, head, {
        client: clientOf(request, isTrusted),
        requestId: needs.nextId(),
        signal: gone.signal,
      });
    },
  };
};

export const openCluster = async (needs: HomeNeeds, config: ServerConfig): Promise<Opened> => {
  const { clock, log, metrics, closers } = needs;
  const servers = openServers(needs, config);
  const { token } = config.nomad;
  const { identity, changed } = openIdentity(needs, servers, config.acl.enabled);
  const own = { token: () => token, region: config.region };
  const ownRights = () => ownRightsOf(servers, token);
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
  return {
    home: {
      feed,
      directory,
      findNode: (id, signal) => feed.nodes.find(id, signal),
      ways: openWays(needs, { feed, directory, servers, tls: tlsOf(config) }, config),
      embedded: undefined,
    },
    identity,
    passing: openPassing(needs, servers, config),
  };
};
