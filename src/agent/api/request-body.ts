/** Reads the small body of a request, never more than 64 KiB of it. */
import type { IncomingMessage } from "node:http";
import { maxBodyBytes } from "../../bodies.ts";
import { GatewayError } from "../../errors.ts";

const hasBody = (request: IncomingMessage): boolean =>
  request.headers["transfer-encoding"] !== undefined ||
  Number(request.headers["content-length"] ?? 0) > 0;

/** The text of the body; undefined when the request has none. Throws `body_too_large`, `unsupported_coding`. */
export const readBody = async (request: IncomingMessage): Promise<string | undefined> => {
  if (!hasBody(request)) return undefined;
  const coding = request.headers["content-encoding"];
  if (coding !== undefined && coding !== "identity") throw new GatewayError("unsupported_coding");
  const tooLarge = (): GatewayError => new GatewayError("body_too_large", { limit: "64 KiB" });
  if (Number(request.headers["content-length"] ?? 0) > maxBodyBytes) throw tooLarge();
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of request.iterator({
      destroyOnReturn: false,
    }) as AsyncIterable<Buffer>) {
      bytes += chunk.length; // no encoding is set: buffers
      if (bytes > maxBodyBytes) throw tooLarge();
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof GatewayError) throw error;
    throw new GatewayError("client_closed", {}, { cause: error });
  }
  return Buffer.concat(chunks).toString("utf8");
};
