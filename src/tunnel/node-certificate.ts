/**
 * A NODE'S CERTIFICATE: made by the operator's authority for TLS clients, with the node's id as its only `urn:uuid:` name.
 * TLS has verified it in the handshake; it is looked at again here, and as long as its tunnel lives.
 */
import type { X509Certificate } from "node:crypto";
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";
import { GatewayError } from "../errors.ts";
import { isIssuedBy } from "../lib/authorities.ts";
import { canonicalUuid, isUuid } from "../lib/uuid.ts";
import type { Clock } from "../ports.ts";

const clientAuthentication = "1.3.6.1.5.5.7.3.2";

/** One name as node prints them: quoted where it has commas or quotes of its own. */
const namePattern = /([^:,"]+):("(?:[^"\\]|\\.)*"|[^,"]*)(?:, |$)/y;
const nodeName = /^urn:uuid:(.+)$/i;

/** The nodes that a certificate names; none when its names cannot be read. */
export const namedNodes = ({ subjectAltName = "" }: X509Certificate): readonly string[] => {
  const nodes: string[] = [];
  namePattern.lastIndex = 0;
  while (namePattern.lastIndex < subjectAltName.length) {
    const [, kind, value = ""] = namePattern.exec(subjectAltName) ?? [];
    if (kind === undefined) return [];
    const id = kind === "URI" ? nodeName.exec(value)?.[1] : undefined;
    if (id !== undefined) nodes.push(canonicalUuid(id));
  }
  return nodes;
};

/** What is wrong with the certificate itself, whoever made it. */
const faultOf = (certificate: X509Certificate, nowMs: number): string | undefined => {
  const { ca, keyUsage, validFromDate, validToDate } = certificate;
  const nodes = namedNodes(certificate);
  if (ca) return "is an authority's own (CA:TRUE)";
  if (validToDate.getTime() < nowMs) return `has expired, on ${validToDate.toISOString()}`;
  if (validFromDate.getTime() > nowMs) return `is valid from ${validFromDate.toISOString()}`;
  if (!keyUsage?.includes(clientAuthentication))
    return "is not for TLS clients (extendedKeyUsage clientAuth)";
  if (nodes.length !== 1)
    return `names ${nodes.length === 0 ? "no node" : "several nodes"}: it needs one URI:urn:uuid:<node id>`;
  return isUuid(nodes[0] ?? "") ? undefined : "names a node by what is no node's id";
};

/** The certificate that the other end has shown in its handshake. */
export const shownOn = (socket: Duplex): X509Certificate | undefined =>
  socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined;

export interface CertifiedNode {
  readonly nodeId: string;
  /** False when it has expired or its authority counts no more. */
  readonly mayStay: () => boolean;
}

const refused = (words: string): GatewayError =>
  new GatewayError("permission_denied", { reason: `the node's certificate ${words}` });

/** Asked again and again of each tunnel: a signature is verified only against authorities that are not those of last time. */
const issuedTest = (certificate: X509Certificate) => {
  let last: { readonly by: readonly X509Certificate[]; readonly isIssued: boolean } | undefined;
  return (by: readonly X509Certificate[]): boolean => {
    if (last?.by !== by) last = { by, isIssued: isIssuedBy(certificate, by) };
    return last.isIssued;
  };
};

/** The node that a connection's certificate stands for; undefined when it has shown none. */
export type CertifiedBy = (socket: Duplex) => CertifiedNode | undefined;

/** Throws `permission_denied` for a certificate that is not good. */
export const certifiedBy =
  (clock: Pick<Clock, "now">, authorities: () => readonly X509Certificate[]): CertifiedBy =>
  (socket) => {
    const certificate = shownOn(socket);
    if (!(socket instanceof TLSSocket) || certificate === undefined) return undefined;
    const fault = faultOf(certificate, clock.now());
    if (fault !== undefined) throw refused(fault);
    const isIssued = issuedTest(certificate);
    const endsAtMs = certificate.validToDate.getTime();
    const mayStay = (): boolean => endsAtMs >= clock.now() && isIssued(authorities());
    if (!mayStay()) throw refused("is not issued by an authority in tunnel.client_ca_file");
    if (!socket.authorized) throw refused(`was not verified: ${String(socket.authorizationError)}`);
    return { nodeId: namedNodes(certificate)[0] ?? "", mayStay };
  };
