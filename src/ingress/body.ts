import type { IncomingMessage } from "node:http";
import { GatewayError } from "../errors.ts";

/**
 * Reads a small body whole. Undefined when the request has none (no length, or length 0). Throws `body_too_large` as
 * soon as the bound is passed, before more is kept.
 */
export const readBody = async (
  request: IncomingMessage,
  maxBytes: number,
): Promise<string | undefined> => {
  const tooLarge = (): GatewayError =>
    new GatewayError("body_too_large", { limit: `${maxBytes / 1024} KiB` });
  const length = request.headers["content-length"];
  if (length === undefined && request.headers["transfer-encoding"] === undefined) return undefined;
  if (length === "0") return undefined;
  if (Number(length ?? 0) > maxBytes) throw tooLarge();
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    if (!(chunk instanceof Buffer)) continue;
    bytes += chunk.length;
    if (bytes > maxBytes) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
};
