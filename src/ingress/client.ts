/** Who is at the other end of the connection, looking through trusted proxies alone (hardening rule H3). */
import { isIP } from "node:net";
import { TLSSocket } from "node:tls";
import type { Exchange, HttpRequest } from "../ports.ts";

const unmapped = (address: string): string =>
  address.startsWith("::ffff:") ? address.slice("::ffff:".length) : address;

const lastUntrusted = (
  chain: readonly string[],
  isTrusted: (address: string) => boolean,
): string | undefined => chain.findLast((address) => !isTrusted(address)) ?? chain[0];

const first = (header: string | readonly string[] | undefined): string | undefined =>
  (typeof header === "string" ? header : header?.[0])?.split(",")[0]?.trim();

/** The caller's address, and the authority and scheme it used. */
export const clientOf = (
  request: HttpRequest,
  isTrusted: (address: string) => boolean,
): Exchange["client"] => {
  const peer = unmapped(request.socket.remoteAddress ?? "");
  const scheme = request.socket instanceof TLSSocket ? "https" : "http";
  const authority = request.headers.host ?? "";
  if (!isTrusted(peer)) return { address: peer, authority, scheme };
  const chain = [request.headers["x-forwarded-for"] ?? ""]
    .flat()
    .flatMap((value) => value.split(","))
    .map((address) => unmapped(address.trim()))
    .filter((address) => isIP(address) !== 0);
  const forwardedScheme = first(request.headers["x-forwarded-proto"]);
  return {
    address: lastUntrusted(chain, isTrusted) ?? peer,
    authority: first(request.headers["x-forwarded-host"]) ?? authority,
    scheme: forwardedScheme === "https" ? "https" : scheme,
  };
};
