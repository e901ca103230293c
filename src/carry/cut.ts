/** The ends of a client's answer: whole, or cut so that nobody takes it for whole. */
import { GatewayError } from "../errors.ts";
import type { HttpResponse } from "../ports.ts";

/** HTTP/1.0 knows no chunks: there the end of the connection is the end of the body, and only a reset says otherwise. */
const isCloseDelimited = ({ req }: HttpResponse): boolean => req.httpVersion === "1.0";

/** Ends a body that only the connection's end ends, so that nobody takes it for whole. */
export const reset = (response: HttpResponse): void => {
  try {
    response.socket?.resetAndDestroy();
  } catch {
    response.destroy(); // a TLS socket knows no reset, and needs none: no close_notify is sent
  }
};

/** Cuts an answer whose head was sent. No final chunk, no word, and a reset where a plain close would look whole. */
export const cut = (response: HttpResponse): void => {
  if (isCloseDelimited(response)) reset(response);
  response.destroy();
};

/** What a caller hears that takes nothing of what waits for it. */
export const tooSlow = (stallMs: number): GatewayError =>
  new GatewayError("client_too_slow", { limit: `${stallMs / 1000} s` });

/**
 * Resolves when the last byte was handed to the system; rejects when the caller left, took nothing for `stallMs`, or
 * the signal fired before.
 */
export const delivered = (
  response: HttpResponse,
  signal: AbortSignal,
  stallMs: number,
): Promise<void> =>
  new Promise((resolve, reject) => {
    const done = (settle: () => void): void => {
      response.off("finish", onFinish);
      response.off("close", onClose);
      response.off("timeout", onStall);
      signal.removeEventListener("abort", onAbort);
      settle();
    };
    const onFinish = (): void => done(resolve);
    const onClose = (): void => done(() => reject(new GatewayError("client_closed")));
    const onStall = (): void => done(() => reject(tooSlow(stallMs)));
    const onAbort = (): void => done(() => reject(signal.reason));
    if (response.writableFinished) return resolve();
    if (signal.aborted) return reject(signal.reason);
    if (response.destroyed) return reject(new GatewayError("client_closed"));
    response.once("finish", onFinish);
    response.once("close", onClose);
    response.on("timeout", onStall);
    response.setTimeout(stallMs);
    signal.addEventListener("abort", onAbort);
  });
