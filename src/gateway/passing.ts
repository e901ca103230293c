/**
 * What the gateway does not carry itself, on its way to a cluster's servers: as it came, or vouched for when its caller has a
 * JWT that they do not know.
 */
import { createPassThrough, isSocketTarget } from "../carry/pass-through/pass-through.ts";
import type { ServerConfig } from "../config/server-schema.ts";
import type { ToServers } from "../ingress/passing.ts";
import type { Servers, ServersOptions } from "../nomad/servers.ts";
import type { HomeNeeds } from "./registry.ts";
import type { Vouching } from "./vouching.ts";

/** Bytes of a node document that is masked. */
const maxMaskedBytes = 4 * 1024 * 1024;

export interface PassingParts {
  readonly servers: Servers;
  readonly tls: ServersOptions["tls"];
  /** Undefined without issuers of JWTs. */
  readonly vouching: Vouching | undefined;
}

export const openPassing = (
  needs: HomeNeeds,
  { servers, tls, vouching }: PassingParts,
  { nomad, region, timeouts }: ServerConfig,
): ToServers => {
  const through = needs.closers.own(
    createPassThrough(
      { log: needs.log, servers },
      {
        mask: nomad.maskAddress,
        maxMaskedBytes,
        region,
        tls,
        connectTimeoutMs: timeouts.connectMs,
        stallMs: timeouts.idleMs,
        documentSilenceMs: timeouts.idleMs,
        uploadIdleMs: timeouts.idleMs,
      },
    ),
  );
  return {
    http: (request, response, context) => {
      if (!vouching?.concerns(request)) return through.http(request, response, context);
      return vouching.take(request, context, async (vouched) => {
        await through.http(request, response, vouched);
        return response.statusCode;
      });
    },
    upgrade: async (request, socket, head, context) => {
      const checkFirst = vouching?.checkFirst(request);
      if (!vouching?.concerns(request))
        return through.upgrade(request, socket, head, { ...context, checkFirst });
      let status = 0;
      await vouching.take(request, context, async (vouched) => {
        status = await through.upgrade(request, socket, head, { ...vouched, checkFirst });
        return status;
      });
      return status;
    },
    isSocketTarget,
    isAudited: (request) => vouching?.audits(request) === true,
  };
};
