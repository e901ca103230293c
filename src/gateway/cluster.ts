/** In front of a Nomad cluster: its servers say who exists and who may; what is not carried is passed on to them. */

import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { createAuthenticate } from "../acl/authenticate.ts";
import { type OwnRights, readOwnRights } from "../acl/nomad-own-token.ts";
import { createNomadSource } from "../acl/nomad-source.ts";
import { createPassThrough } from "../carry/pass-through/pass-through.ts";
import { refuseSocket } from "../carry/pass-through/upgrade.ts";
import type { ServerConfig } from "../config/server-schema.ts";
import { GatewayError, toGatewayError } from "../errors.ts";
import { asksForWebSocket } from "../http/upgrade.ts";
import { clientOf } from "../ingress/client.ts";
import type { PassThrough, PassThroughContext } from "../ingress/edge.ts";
import type { UpgradeListener } from "../ingress/upgrade.ts";
import { addressTest } from "../lib/addresses.ts";
import { createServers, type Servers, type ServersOptions } from "../nomad/servers.ts";
import { followAclEvents } from "../registry/nomad/acl-events.ts";
import { createNomadFeed } from "../registry/nomad/feed.ts";
import { authenticateWith, type Identity, readText } from "./identity.ts";
import { type Issuers, openIssuers } from "./issuers.ts";
import { observeNomadFeed } from "./observing.ts";
import { follow, type Home, type HomeNeeds } from "./registry.ts";
import { createVouching, type Vouched, type Vouching } from "./vouching.ts";
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
  issuers: Issuers | undefined,
  enabled: boolean,
): Rights => {
  const source = closers.own(createNomadSource({ clock, log, servers }));
  const authenticateCredential = createAuthenticate(issuers?.beside(source) ?? source, {
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

/** Passes an upgrade on, or refuses it on its socket. */
const vouchForUpgrade = (
  vouching: Vouching,
  request: IncomingMessage,
  socket: Duplex,
  context: PassThroughContext,
  passOn: (vouched: Vouched) => void,
): void => {
  socket.on("error", () => undefined); // its close tells the rest
  const closed = new Promise((resolve) => socket.once("close", resolve));
  const pass = async (vouched: Vouched): Promise<undefined> => {
    passOn(vouched);
    await closed;
  };
  vouching.take(request, context, pass).catch((thrown: unknown) => {
    refuseSocket(socket, toGatewayError(thrown, context.signal), context.requestId);
  });
};

const openPassing = (
  needs: HomeNeeds,
  servers: Servers,
  vouching: Vouching | undefined,
  config: ServerConfig,
): Passing => {
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
    http: (request, response, context) => {
      if (!vouching?.concerns(request)) return through.http(request, response, context);
      return vouching.take(request, context, async (vouched) => {
        await through.http(request, response, vouched);
        return response.statusCode;
      });
    },
    isUpgrade: (request) => asksForWebSocket(request) && jobAction.test(request.url ?? ""),
    upgrade: (request, socket, head) => {
      const gone = new AbortController();
      socket.once("close", () => gone.abort(new GatewayError("client_closed")));
      const context = {
        client: clientOf(request, isTrusted),
        requestId: needs.nextId(),
        signal: gone.signal,
      };
      if (!vouching?.concerns(request)) through.upgrade(request, socket, head, context);
      else
        vouchForUpgrade(vouching, request, socket, context, (vouched) =>
          through.upgrade(request, socket, head, vouched),
        );
    },
  };
};

export const openCluster = async (needs: HomeNeeds, config: ServerConfig): Promise<Opened> => {
  const { clock, log, metrics, closers } = needs;
  const servers = openServers(needs, config);
  const { token } = config.nomad;
  const issuers = await openIssuers(needs, servers, config);
  const { identity, changed } = openIdentity(needs, servers, issuers, config.acl.enabled);
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
  const vouching =
    issuers &&
    createVouching(
      { clock, audit: needs.audit, identity, directory },
      { region: config.region, ofIssuer: issuers.ofIssuer },
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
    passing: openPassing(needs, servers, vouching, config),
  };
};
