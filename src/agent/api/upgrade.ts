/** What makes an upgrade a WebSocket, and how Nomad's agents refuse one before it is (nomad-http.md §7.1). */
import { type IncomingMessage, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";

export interface UpgradeRefusal {
  readonly status: number;
  readonly text: string;
}

const execPath = /^\/v1\/client\/allocation\/([^/]+)\/exec$/;

const pathnameOf = (request: IncomingMessage): string =>
  (request.url ?? "").replace(/^https?:\/\/[^/?#]*/i, "").split("?", 1)[0] ?? "";

const decoded = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
};

/** The allocation id of an exec path; undefined on every other path. */
export const execIdOf = (request: IncomingMessage): string | undefined => {
  const id = decoded(execPath.exec(pathnameOf(request))?.[1] ?? "");
  return id === undefined || id === "" || id.includes("/") ? undefined : id;
};

/** Only `Upgrade: websocket` on the exec route is an upgrade; everything else is answered as plain HTTP. */
export const isExecUpgrade = (request: IncomingMessage): boolean =>
  request.headers.upgrade?.trim().toLowerCase() === "websocket" && execIdOf(request) !== undefined;

const keyBytes = 16;
const keyPattern = /^[A-Za-z0-9+/]{22}==$/;

const isKey = (key: string | undefined): boolean =>
  key !== undefined && keyPattern.test(key) && Buffer.from(key, "base64").length === keyBytes;

const isOwnOrigin = (origin: string, host: string): boolean => {
  const authority = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i.exec(origin)?.[1];
  return authority !== undefined && authority.toLowerCase() === host.toLowerCase();
};

const hasBody = ({ headers }: IncomingMessage): boolean =>
  headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;

const refusal = (status: number, words: string): UpgradeRefusal => ({
  status,
  text: `${STATUS_CODES[status]}\nfailed to upgrade connection: websocket: ${words}`,
});

/** The reason to refuse, checked in the order of Nomad's upgrader; undefined when it may go on. */
export const upgradeRefusal = (request: IncomingMessage): UpgradeRefusal | undefined => {
  const { headers, method } = request;
  if (method !== "GET")
    return refusal(
      405,
      "the client is not using the websocket protocol: request method is not GET",
    );
  if (hasBody(request)) return refusal(400, "the request has a body");
  if (headers["sec-websocket-version"] !== "13")
    return refusal(400, "unsupported version: 13 not found in 'Sec-Websocket-Version' header");
  if (headers.origin !== undefined && !isOwnOrigin(headers.origin, headers.host ?? ""))
    return refusal(403, "request origin not allowed by Upgrader.CheckOrigin");
  if (!isKey(headers["sec-websocket-key"]))
    return refusal(
      400,
      "not a websocket handshake: 'Sec-WebSocket-Key' header must be Base64 encoded value of 16-byte in length",
    );
  return undefined;
};

/** Writes a plain answer on a connection that asked for an upgrade, and closes it. */
export const refuseUpgrade = (socket: Duplex, { status, text }: UpgradeRefusal): void => {
  const head = [
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}`,
    "Content-Type: text/plain; charset=utf-8",
    "Sec-Websocket-Version: 13",
    "X-Content-Type-Options: nosniff",
    `Content-Length: ${Buffer.byteLength(text)}`,
    "Connection: close",
  ].join("\r\n");
  socket.once("finish", () => socket.destroy());
  socket.end(`${head}\r\n\r\n${text}`);
};
