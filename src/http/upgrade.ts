/** What makes an upgrade a WebSocket, and how Nomad's agents refuse one before it is (nomad-http.md §7.1). */
import type { Duplex } from "node:stream";
import { decodeCommand } from "../bodies.ts";
import { failed } from "../errors.ts";
import { answerLast, plainText } from "../lib/last-answer.ts";
import { STATUS_CODES } from "../lib/node-http.ts";
import { one, type RawQuery } from "../parameters.ts";
import type { HttpRequest } from "../ports.ts";
import { hasBody } from "./body.ts";

export const asksForWebSocket = ({ headers }: HttpRequest): boolean =>
  headers.upgrade?.trim().toLowerCase() === "websocket";

const defaultPorts: Readonly<Record<string, string>> = { http: ":80", https: ":443" };

/** A host as browsers name it: without the port that its scheme has anyway. */
const plainHost = (host: string, scheme: string): string => {
  const port = defaultPorts[scheme.toLowerCase()];
  const lower = host.toLowerCase();
  return port !== undefined && lower.endsWith(port) ? lower.slice(0, -port.length) : lower;
};

/** True without an Origin header, and when it names the very host and port that was asked, or one on the list. */
export const isOwnOrigin = (
  { headers: { origin } }: HttpRequest,
  authority: string,
  allowed: readonly string[] = [],
): boolean => {
  if (origin === undefined || allowed.includes(origin)) return true;
  const [, scheme, named] = /^([a-z][a-z0-9+.-]*):\/\/([^/?#]*)/i.exec(origin) ?? [];
  if (scheme === undefined || named === undefined) return false;
  return plainHost(named, scheme) === plainHost(authority, scheme);
};

export interface UpgradeRefusal {
  readonly status: number;
  readonly words: string;
}

const refusal = (status: 400 | 403 | 405, words: string) =>
  ({ status, words: `failed to upgrade connection: websocket: ${words}` }) as const;

const keyPattern = /^[A-Za-z0-9+/]{22}==$/; // the base64 of 16 bytes

/** Nomad's checks before the 101, in its order; undefined when it may go on. */
export const upgradeFault = (request: HttpRequest, ownOrigin: boolean) => {
  const { headers, method } = request;
  if (method !== "GET")
    return refusal(
      405,
      "the client is not using the websocket protocol: request method is not GET",
    );
  if (headers["sec-websocket-version"] !== "13")
    return refusal(400, "unsupported version: 13 not found in 'Sec-Websocket-Version' header");
  if (!ownOrigin) return refusal(403, "request origin not allowed by Upgrader.CheckOrigin");
  if (!keyPattern.test(headers["sec-websocket-key"] ?? ""))
    return refusal(
      400,
      "not a websocket handshake: 'Sec-WebSocket-Key' header must be Base64 encoded value of 16-byte in length",
    );
  return hasBody(request) ? refusal(400, "the request has a body") : undefined;
};

/** Answers plainly on a connection that asked for an upgrade, and lets it go. */
export const answerUpgrade = (
  socket: Duplex,
  status: number,
  body: string,
  headers: Readonly<Record<string, string>> = {},
): void => {
  const sniffing = ["X-Content-Type-Options", "nosniff"] as const;
  answerLast(socket, status, [plainText, ...Object.entries(headers), sniffing], body);
};

/** Refuses in Nomad's form. */
export const refuseUpgrade = (
  socket: Duplex,
  { status, words }: UpgradeRefusal,
  headers: Readonly<Record<string, string>> = {},
): void =>
  answerUpgrade(socket, status, `${STATUS_CODES[status]}\n${words}`, {
    "Sec-Websocket-Version": "13",
    ...headers,
  });

/** A request that should have been a WebSocket: Nomad looks at its command first. */
export const refusePlainExec = (raw: RawQuery): never => {
  decodeCommand(one(raw, "command") ?? "");
  throw failed("websocket connection not found in context");
};
