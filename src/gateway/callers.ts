/**
 * Where callers must show a certificate (`tls.client_ca_file`) and nodes may (`tunnel.client_ca_file`), one listener trusts
 * both authorities: a node's certificate opens a tunnel there and what its agent asks, and is no caller's.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { ServerConfig } from "../config/server-schema.ts";
import { GatewayError } from "../errors.ts";
import { isIssuedBy } from "../lib/authorities.ts";
import type { Log } from "../ports.ts";
import type { CertifiedNode } from "../registry/embedded/announce.ts";
import { namedNodes, shownOn } from "../tunnel/node-certificate.ts";
import { openAuthorities } from "./authorities.ts";

export interface Callers {
  isOne(request: Pick<IncomingMessage, "socket">): boolean;
  /** Throws `permission_denied` for the requests of others, whose connections are not kept. */
  check(request: IncomingMessage, response: ServerResponse): void;
  /** SIGHUP: false when the authorities are not sound, and those before stay. */
  reload(): boolean;
}

/** Without authorities of both kinds a certificate tells callers and nodes apart nowhere. */
export const everyone: Callers = {
  isOne: () => true,
  check: () => undefined,
  reload: () => true,
};

const reason =
  "the certificate is no caller's (tls.client_ca_file); a node's opens a tunnel, and what its agent asks";

/** What an agent asks of its gateway: to be known, and who they are whom it serves. */
const agentsOwn =
  /^\/v1\/(?:serai\/node\/[^/?]+|acl\/(?:token\/self|policies|policy\/[^/?]+))(?:\?|$)/;

interface CallersNeeds {
  readonly log: Log;
  readonly certifiedNode: CertifiedNode;
}

export const openCallers = (
  { log, certifiedNode }: CallersNeeds,
  { tls, tunnel }: ServerConfig,
): Callers => {
  const authorities = openAuthorities(log, tls.clientCaFile);
  if (authorities === undefined || tunnel.clientCaFile === undefined) return everyone;
  const known = new WeakMap<Socket, boolean>();

  const look = (socket: Socket): boolean => {
    const certificate = shownOn(socket);
    return (
      certificate !== undefined &&
      namedNodes(certificate).length === 0 &&
      isIssuedBy(certificate, authorities.current)
    );
  };
  const isOne = ({ socket }: Pick<IncomingMessage, "socket">): boolean => {
    const before = known.get(socket);
    if (before !== undefined) return before;
    const is = look(socket);
    known.set(socket, is);
    if (!is) log.info({ client: socket.remoteAddress }, "a certificate that is no caller's");
    return is;
  };
  const isAgents = ({ socket, url = "" }: IncomingMessage): boolean => {
    if (!agentsOwn.test(url)) return false;
    try {
      return certifiedNode(socket) !== undefined;
    } catch {
      return false; // refused as any other that is no caller's
    }
  };
  return {
    isOne,
    check: (request, response) => {
      if (isOne(request) || isAgents(request)) return;
      response.setHeader("Connection", "close");
      throw new GatewayError("permission_denied", { reason });
    },
    reload: () => authorities.reload(),
  };
};
