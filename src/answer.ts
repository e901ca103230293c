/** Writes answers as Nomad writes them (nomad-http.md §1.3, §1.6). Gateway and agent share it. */
import type { GatewayError } from "./errors.ts";
import { prettyJson, stringifyJson } from "./lib/json.ts";
import type { HttpResponse } from "./ports.ts";

export interface AnswerOptions {
  readonly pretty?: boolean;
  readonly headers?: Readonly<Record<string, string>>;
}

const plain = "text/plain; charset=utf-8";

const writeBody = (
  response: HttpResponse,
  status: number,
  type: string,
  body: string,
  headers: Readonly<Record<string, string>>,
): void => {
  const bytes = Buffer.from(body);
  const typed = bytes.length === 0 ? {} : { "Content-Type": type };
  response.writeHead(status, { ...headers, ...typed, "Content-Length": bytes.length });
  response.end(response.req.method === "HEAD" ? undefined : bytes);
};

/** 200 with a JSON document, no newline at its end unless pretty. */
export const writeJson = (
  response: HttpResponse,
  document: unknown,
  options: AnswerOptions = {},
): void => {
  const body = options.pretty ? prettyJson(document) : stringifyJson(document);
  writeBody(response, 200, "application/json", body, options.headers ?? {});
};

/** 200 with no body and no type: Nomad's answer where a handler returns nothing. */
export const writeEmpty = (
  response: HttpResponse,
  headers: Readonly<Record<string, string>> = {},
): void => {
  response.writeHead(200, { ...headers, "Content-Length": 0 });
  response.end();
};

/** Which node an answer is about. A name is its agent's own word: what is no text is replaced. */
export const nodeHeader = (node: string): { readonly "X-Serai-Node": string } => ({
  "X-Serai-Node": encodeURI(node.toWellFormed()),
});

const retryAfterSeconds = "1";

/**
 * The one writer of refusals: the row's status and words as plain text. Once a head was sent there is one way left to
 * report a failure, and that is to cut the connection.
 */
export const writeError = (
  response: HttpResponse,
  error: GatewayError,
  headers: Readonly<Record<string, string>> = {},
): void => {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  writeBody(response, error.status, plain, error.words, {
    ...headers,
    "X-Serai-Error": error.code,
    "X-Content-Type-Options": "nosniff",
    ...(error.facts.node === undefined ? {} : nodeHeader(error.facts.node)),
    ...(error.retryable ? { "Retry-After": retryAfterSeconds } : {}),
  });
};

const maxReasonBytes = 123; // RFC 6455 §5.5: a control frame carries 125 bytes, two of them the code

/** Words cut to what a close frame can carry. */
export const closeReason = (words: string): string => {
  let reason = words.slice(0, maxReasonBytes); // first, or long words would be measured again and again
  while (Buffer.byteLength(reason) > maxReasonBytes) reason = reason.slice(0, -1);
  return reason;
};

/** An error as a close frame: its code and its words. */
export const toClose = (
  error: GatewayError,
): { readonly code: number; readonly reason: string } => ({
  code: error.close,
  reason: closeReason(error.words),
});
