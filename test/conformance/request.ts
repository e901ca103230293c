/** A recorded request as bytes for a door of ours: tokens and addresses filled in, everything else as it was sent. */
import type { Address } from "./cluster.ts";
import type { Case, RecordedRequest } from "./corpus.ts";
import { secretOf } from "./tokens.ts";

export const withTokens = (text: string): string =>
  text.replaceAll(/\{token:([\w-]+)\}/g, (_all, name: string) => secretOf(name));

/** The corpus shortened one request of a megabyte; this is its shape. */
const bigHeader = (): string =>
  `GET /v1/status/leader HTTP/1.1\r\nHost: x\r\nX-Big: ${"a".repeat(1_100_000)}\r\n\r\n`;

const rawBytes = (raw: string): Buffer =>
  Buffer.from(raw.includes("header block of") || raw.includes("…") ? bigHeader() : raw);

const bodyBytes = ({ body, body_b64 }: RecordedRequest): Buffer =>
  body_b64 === undefined ? Buffer.from(body ?? "") : Buffer.from(body_b64, "base64");

export const requestBytes = ({ request, response }: Case, { host, port }: Address): Buffer => {
  if (request.raw !== undefined) return rawBytes(request.raw);
  const headers = request.headers ?? [];
  const has = (wanted: string): boolean =>
    headers.some(([name]) => name.toLowerCase() === wanted.toLowerCase());
  const body = bodyBytes(request);
  const target = request.query === undefined ? request.path : `${request.path}?${request.query}`;
  const lines = [
    `${request.method} ${target} HTTP/${response.http === "1.0" ? "1.0" : "1.1"}`,
    ...(has("Host") ? [] : [`Host: ${host}:${port}`]),
    ...(has("Accept") ? [] : ["Accept: */*"]),
    ...headers.map(([name, value]) => `${name}: ${withTokens(value)}`),
    ...(body.length > 0 && !has("Content-Length") && !has("Transfer-Encoding")
      ? [`Content-Length: ${body.length}`]
      : []),
  ];
  return Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`), body]);
};
