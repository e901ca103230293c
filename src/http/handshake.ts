/** The token of an exec socket that comes in its first message (nomad-http.md §7.2). */
import { decodeHandshake } from "../bodies.ts";
import { GatewayError, invalidRequest } from "../errors.ts";
import { parseGoBool } from "../lib/go.ts";
import { one, type RawQuery } from "../parameters.ts";
import type { Credential } from "../ports.ts";

/** Whether the caller has announced such a message. Throws Nomad's words for a value that is no bool. */
export const wantsHandshake = (raw: RawQuery): boolean => {
  const text = one(raw, "ws_handshake");
  if (text === undefined || text === "") return false;
  const parsed = parseGoBool(text);
  if (!parsed.ok) throw invalidRequest(`ws_handshake value is not a boolean: ${parsed.text}`);
  return parsed.value;
};

/** The credential of the message, which must not contradict the header's. Throws `message_too_large` and Nomad's 1008s. */
export const shakenCredential = (
  message: Buffer,
  header: Credential,
  maxBytes: number,
): Credential => {
  if (message.length > maxBytes)
    throw new GatewayError("message_too_large", { limit: `${maxBytes / 1024} KiB` });
  const token = decodeHandshake(message.toString());
  if (header.secret !== undefined && header.secret !== token)
    throw invalidRequest("handshake auth token mismatched auth header token");
  const { address } = header;
  return token === ""
    ? { secret: undefined, source: "none", address }
    : { secret: token, source: "handshake", address };
};
