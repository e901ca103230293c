/** What makes a request a proper one, beyond what Node's strict parser already refuses (hardening rules F, H, A12). */
import { GatewayError } from "../errors.ts";
import { sentValues } from "../http/sent.ts";
import { isOwnOrigin } from "../http/upgrade.ts";
import type { HttpRequest } from "../ports.ts";

const refuse = (text: string): GatewayError => new GatewayError("bad_request", { text });

const hostPattern = /^(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?$/;
const connectionTokens: ReadonlySet<string> = new Set([
  "",
  "close",
  "keep-alive",
  "upgrade",
  "http2-settings",
  "te",
]);

const checkHost = (request: HttpRequest): void => {
  const hosts = sentValues(request, "host").length;
  if (hosts === 0 && request.httpVersion === "1.0") return;
  if (hosts !== 1 || !hostPattern.test(request.headers.host ?? ""))
    throw refuse("the request must name exactly one valid Host");
};

const checkFraming = (request: HttpRequest): void => {
  if (request.httpVersion !== "1.1" && request.httpVersion !== "1.0")
    throw refuse(`HTTP/${request.httpVersion} is not spoken here`);
  const coding = request.headers["transfer-encoding"];
  if (coding === undefined) return;
  if (request.httpVersion === "1.0" || coding.toLowerCase() !== "chunked")
    throw refuse("Transfer-Encoding must be exactly chunked, on HTTP/1.1");
};

const checkConnection = (request: HttpRequest): void => {
  for (const token of (request.headers.connection ?? "").split(","))
    if (!connectionTokens.has(token.trim().toLowerCase()))
      throw refuse("the Connection header names a field that is not hop-by-hop");
};

/** Throws `bad_request` or `unsupported_coding`. */
export const checkRequest = (request: HttpRequest): void => {
  checkHost(request);
  checkFraming(request);
  checkConnection(request);
  if (request.headers["content-encoding"] !== undefined)
    throw new GatewayError("unsupported_coding");
};

export const isRead = (method: string | undefined): boolean =>
  method === "GET" || method === "HEAD";

/** By its method alone; GETs of some rows change something, too. */
export const mayChange = ({ method }: HttpRequest): boolean =>
  !isRead(method) && method !== "OPTIONS";

/** A browser on another site must not change anything here, with whatever method. */
export const checkCrossSite = (
  request: HttpRequest,
  authority: string,
  allowed: readonly string[],
): void => {
  if (!isOwnOrigin(request, authority, allowed)) throw new GatewayError("forbidden_origin");
  const site = request.headers["sec-fetch-site"];
  if (site === "cross-site" && !allowed.includes(request.headers.origin ?? ""))
    throw new GatewayError("forbidden_origin", { reason: "Sec-Fetch-Site is cross-site" });
};
