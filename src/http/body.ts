import { GatewayError } from "../errors.ts";
import { readBounded } from "../lib/read-bounded.ts";
import type { HttpRequest } from "../ports.ts";

/** True when a request says that a body follows its head. */
export const hasBody = ({ headers }: HttpRequest): boolean =>
  headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;

/** Rejects when the time is over; `stop` ends it. */
const deadline = (
  limitMs: number,
): { readonly over: Promise<never>; readonly stop: () => void } => {
  const { promise, reject } = Promise.withResolvers<never>();
  const late = (): void =>
    reject(new GatewayError("client_too_slow", { limit: `${limitMs / 1000} s` }));
  const timer = setTimeout(late, limitMs);
  return { over: promise, stop: () => clearTimeout(timer) };
};

const defaultLimitMs = 30_000;

/**
 * Reads a small body whole. Undefined when the request has none (no length, or length 0). Throws `body_too_large` as
 * soon as the bound is passed, before more is kept, `client_closed` when the caller leaves before its end, and
 * `client_too_slow` when that takes it longer than `limitMs`.
 */
export const readBody = async (
  request: HttpRequest,
  maxBytes: number,
  limitMs = defaultLimitMs,
): Promise<string | undefined> => {
  if (!hasBody(request)) return undefined;
  const tooLarge = (): GatewayError =>
    new GatewayError("body_too_large", { limit: `${maxBytes / 1024} KiB` });
  if (Number(request.headers["content-length"] ?? 0) > maxBytes) throw tooLarge();
  // not destroyed beyond the bound: the refusal has to go out on the same connection
  const chunks: AsyncIterable<Buffer> = request.iterator({ destroyOnReturn: false });
  const { over, stop } = deadline(limitMs);
  try {
    return (await Promise.race([readBounded(chunks, maxBytes, tooLarge), over])).toString();
  } catch (error) {
    if (error instanceof GatewayError) throw error;
    throw new GatewayError("client_closed", {}, { cause: error });
  } finally {
    stop();
  }
};
