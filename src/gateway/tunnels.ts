/** Agents that dial out: who may, what is held open, and what is told of it. */
import { existsSync } from "node:fs";
import { createJoinTokens, type JoinTokens } from "../acl/join-tokens.ts";
import type { ServerConfig } from "../config/server-schema.ts";
import { clientOf } from "../ingress/client.ts";
import { addressTest } from "../lib/addresses.ts";
import type { Audit } from "../observe/audit.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { Clock, Log } from "../ports.ts";
import type { CertifiedNode } from "../registry/embedded/announce.ts";
import { createTunnelDoor, type TunnelDoor } from "../tunnel/door.ts";
import { createHub, type Hub, type HubEvent } from "../tunnel/hub.ts";
import { certifiedBy, namedNodes, shownOn } from "../tunnel/node-certificate.ts";
import { openAuthorities } from "./authorities.ts";

export interface TunnelParts {
  readonly joinTokens: JoinTokens;
  /** Closed by who opened it, before the listener that its sockets belong to. */
  readonly hub: Hub;
  readonly door: TunnelDoor;
  readonly certifiedNode: CertifiedNode;
  /** SIGHUP: false when the authorities of nodes' certificates are not sound, and those before stay. */
  reload(): boolean;
}

interface TunnelNeeds {
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly audit: Audit;
}

/** Without a file of join tokens no agent can join. */
const nobodyJoins: JoinTokens = { claim: async () => false, holds: () => false };

/** A gateway that lets no agent join expects none. */
const noneComes = { graceMs: 0 } as const;

export const openTunnels = (
  { clock, log, metrics, audit }: TunnelNeeds,
  { acl, http, tunnel }: ServerConfig,
): TunnelParts => {
  const file = acl.joinTokensFile;
  const joinTokens = file === undefined ? nobodyJoins : createJoinTokens({ clock }, { file });
  if (file !== undefined && !existsSync(file))
    log.warn(
      { file },
      "acl.join_tokens_file is not there: no agent can join with a token until it is",
    );
  const told = ({ kind, ...facts }: HubEvent): void => {
    const isRefused = kind === "tunnel_refused";
    if (isRefused) audit.refusal(kind, facts);
    else audit.event(kind, facts);
    log.info({ event: kind, ...facts }, isRefused ? "tunnel refused" : "tunnel");
  };
  const mayCome = file !== undefined || tunnel.clientCaFile !== undefined;
  const hub = createHub({ clock, told }, { observe: metrics, ...(mayCome ? {} : noneComes) });
  const authorities = openAuthorities(log, tunnel.clientCaFile);
  const certified = authorities && certifiedBy(clock, () => authorities.current);
  const isTrusted = addressTest(http.trustProxy);
  const door = createTunnelDoor({
    log,
    hub,
    joinTokens,
    certifiedBy: certified,
    told,
    observe: metrics,
    addressOf: (request) => clientOf(request, isTrusted).address,
  });
  const reload = (): boolean => {
    const ok = authorities?.reload() ?? true;
    hub.recheck();
    return ok;
  };
  /** A caller's certificate may be shown beside a join token. */
  const certifiedNode: CertifiedNode = (socket) => {
    const shown = shownOn(socket);
    return shown && namedNodes(shown).length > 0 ? certified?.(socket)?.nodeId : undefined;
  };
  return { joinTokens, hub, door, certifiedNode, reload };
};
