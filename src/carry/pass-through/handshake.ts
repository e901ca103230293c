/** The handshake of a WebSocket that is passed on: what a caller must ask with, and what a server must answer. */
import { createHash } from "node:crypto";
import { request as ask, type IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { GatewayError } from "../../errors.ts";
import { invalidAnswer } from "./faults.ts";

const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; // RFC 6455 §1.3
const keyPattern = /^[A-Za-z0-9+/]{22}==$/;

/** What proves that a key was read. */
export const acceptOf = (key: string): string =>
  createHash("sha1")
    .update(key + guid)
    .digest("base64");

export const bad = (text: string): GatewayError => new GatewayError("bad_request", { text });

/** What makes it a WebSocket that may be passed on; the key. Throws. */
export const checkUpgrade = (request: IncomingMessage): string => {
  const { headers, method } = request;
  if (method !== "GET") throw new GatewayError("invalid_method");
  if (headers.upgrade?.trim().toLowerCase() !== "websocket")
    throw bad("only WebSockets are spoken here");
  if (headers["sec-websocket-version"] !== "13") throw bad("Sec-WebSocket-Version must be 13");
  const key = headers["sec-websocket-key"] ?? "";
  if (!keyPattern.test(key)) throw bad("Sec-WebSocket-Key must be 16 bytes in base64");
  if (headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0)
    throw bad("an upgrade must not have a body");
  return key;
};

export type Opened =
  | { readonly kind: "open"; readonly head: Buffer }
  | { readonly kind: "refused"; readonly answer: IncomingMessage };

const checkSwitch = ({ statusCode, headers }: IncomingMessage, key: string): void => {
  const isProper =
    statusCode === 101 &&
    headers.upgrade?.toLowerCase() === "websocket" &&
    headers["sec-websocket-accept"] === acceptOf(key) &&
    headers["sec-websocket-extensions"] === undefined &&
    headers["sec-websocket-protocol"] === undefined;
  if (!isProper) throw invalidAnswer("not a proper upgrade");
};

/** Asks for the upgrade on a connection of its own. */
export const open = (
  upstream: Duplex,
  path: string,
  headers: Readonly<Record<string, string>>,
  key: string,
): Promise<Opened> =>
  new Promise((resolve, reject) => {
    // http.request takes any Duplex; its types know net.Socket alone
    const createConnection = (): never => upstream as never;
    const asked = ask({ method: "GET", path, headers, createConnection });
    asked.once("error", reject);
    asked.on("error", () => undefined);
    asked.once("close", () => reject(invalidAnswer("it closed without an answer")));
    asked.once("response", (answer) => {
      answer.on("error", () => undefined);
      resolve({ kind: "refused", answer });
    });
    asked.once("upgrade", (answer, _socket, head) => {
      try {
        checkSwitch(answer, key);
        resolve({ kind: "open", head });
      } catch (error) {
        reject(error);
      }
    });
    asked.end();
  });
