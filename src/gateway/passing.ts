/**
 * What the gateway does not carry itself, on its way to a cluster's servers: as it came, or vouched for when its caller has a
 * JWT that they do not know.
 */
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { createPassThrough } from "../carry/pass-through/pass-through.ts";
import { refuseSocket } from "../carry/pass-through/upgrade.ts";
import type { ServerConfig } from "../config/server-schema.ts";
import { GatewayError, toGatewayError } from "../errors.ts";
import { asksForWebSocket } from "../http/upgrade.ts";
import { clientOf } from "../ingress/client.ts";
import type { PassThrough, PassThroughContext } from "../ingress/edge.ts";
import type { UpgradeListener } from "../ingress/upgrade.ts";
import { addressTest } from "../lib/addresses.ts";
import type { Servers, ServersOptions } from "../nomad/servers.ts";
import type { HomeNeeds } from "./registry.ts";
import type { Vouched, Vouching } from "./vouching.ts";

/** The way to the servers for all that the gateway does not carry itself. */
export interface Passing {
  readonly http: PassThrough;
  readonly upgrade: UpgradeListener;
  readonly isUpgrade: (request: IncomingMessage) => boolean;
}

/** Bytes of a node document that is masked. */
const maxMaskedBytes = 4 * 1024 * 1024;

const jobAction = /^\/v1\/job\/[^?]+\/action(?:\?|$)/;

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

export interface PassingParts {
  readonly servers: Servers;
  readonly tls: ServersOptions["tls"];
  /** Undefined without issuers of JWTs. */
  readonly vouching: Vouching | undefined;
}

export const openPassing = (
  needs: HomeNeeds,
  { servers, tls, vouching }: PassingParts,
  { nomad, region, http, timeouts }: ServerConfig,
): Passing => {
  const through = needs.closers.own(
    createPassThrough(
      { log: needs.log, servers },
      {
        mask: nomad.maskAddress,
        maxMaskedBytes,
        region,
        tls,
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
      if (!vouching?.concerns(request))
        through.upgrade(request, socket, head, {
          ...context,
          checkFirst: vouching?.checkFirst(request),
        });
      else
        vouchForUpgrade(vouching, request, socket, context, (vouched) =>
          through.upgrade(request, socket, head, vouched),
        );
    },
  };
};
