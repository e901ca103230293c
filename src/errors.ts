/**
 * One table from code to HTTP status, WebSocket close code and words: rows that answer as Nomad does (texts are Nomad's,
 * because unmodified clients match on them), then the gateway's own.
 */

/** What the words of a row may be built from. `text` is the whole body for the rows that carry Nomad's own texts. */
export interface Facts {
  readonly text?: string;
  readonly id?: string;
  readonly node?: string;
  /** Who it was when it was no node. */
  readonly peer?: string;
  readonly reason?: string;
  readonly limit?: string;
}

interface Row {
  /** HTTP status. */
  readonly status: number;
  /** WebSocket close code: one that Nomad's clients take. They refuse 1014, and then show no reason. */
  readonly close: number;
  /** True when the agent certainly did not hear the request; sets `Retry-After`. */
  readonly retryable: boolean;
  readonly say: (facts: Facts) => string;
}

const text = (facts: Facts): string => facts.text ?? "";
const nodeName = (facts: Facts): string =>
  facts.peer ?? (facts.node ? `node ${facts.node}` : "the node");

// biome-ignore format: a table
const table = {
  // Nomad's own answers: reference nomad-http.md §1.6 and the per-route tables.
  invalid_request:       { status: 400, close: 1008, retryable: false, say: text },
  permission_denied:     { status: 403, close: 1011, retryable: false, say: (f) => `Permission denied${f.reason ? `: ${f.reason}` : ""}` },
  not_found:             { status: 404, close: 1008, retryable: false, say: text },
  unknown_allocation:    { status: 404, close: 1008, retryable: false, say: (f) => `Unknown allocation "${f.id ?? ""}"` },
  no_path_to_node:       { status: 404, close: 1008, retryable: false, say: () => "No path to node" },
  invalid_method:        { status: 405, close: 1008, retryable: false, say: () => "Invalid method" },
  failed:                { status: 500, close: 1011, retryable: false, say: text },
  no_client:             { status: 501, close: 1011, retryable: false, say: () => "Invalid method" },
  enterprise_only:       { status: 501, close: 1011, retryable: false, say: () => "Nomad Enterprise only endpoint" },
  // The gateway's own.
  bad_request:           { status: 400, close: 1008, retryable: false, say: text },
  forbidden_origin:      { status: 403, close: 1008, retryable: false, say: (f) => `cross-site request refused: ${f.reason ?? "foreign origin"}; allow the origin in http.allowed_origins` },
  gone:                  { status: 410, close: 1008, retryable: false, say: text },
  body_too_large:        { status: 413, close: 1009, retryable: false, say: (f) => `the body is larger than ${f.limit ?? "allowed"}; send less` },
  unsupported_coding:    { status: 415, close: 1003, retryable: false, say: () => "a request body with Content-Encoding is not accepted; send it plain" },
  range_not_satisfiable: { status: 416, close: 1008, retryable: false, say: (f) => `the file has ${f.limit ?? "fewer"} bytes; none of them is in the range that was asked for` },
  headers_too_large:     { status: 431, close: 1009, retryable: false, say: (f) => `the request's header is larger than ${f.limit ?? "allowed"}` },
  too_many_requests:     { status: 429, close: 1013, retryable: true,  say: (f) => `too many live exchanges for this caller (limit ${f.limit ?? "?"}); end some and try again` },
  internal:              { status: 500, close: 1011, retryable: false, say: () => "internal error; the request id finds it in the gateway's log" },
  node_unreachable:      { status: 502, close: 1013, retryable: true,  say: (f) => `${nodeName(f)} cannot be reached: ${f.reason ?? "unknown reason"}` },
  upstream_broke:        { status: 502, close: 1011, retryable: false, say: (f) => `${nodeName(f)} broke off the answer: ${f.reason ?? "connection lost"}` },
  upstream_invalid:      { status: 502, close: 1011, retryable: false, say: (f) => `${nodeName(f)} gave an answer that is not valid: ${f.reason ?? "malformed"}` },
  overloaded:            { status: 503, close: 1013, retryable: true,  say: (f) => `${nodeName(f)} has ${f.limit ? `no connection free: ${f.limit}` : "too many requests waiting"}${f.reason ? ` (${f.reason})` : ""}; try again` },
  registry_unavailable:  { status: 503, close: 1013, retryable: true,  say: (f) => `the registry cannot answer now: ${f.reason ?? "not synced yet"}` },
  identity_unavailable:  { status: 503, close: 1013, retryable: true,  say: (f) => `the caller's token cannot be checked now: ${f.reason ?? "its source is away"}` },
  draining:              { status: 503, close: 1012, retryable: true,  say: () => "the gateway is shutting down; connect again" },
  upstream_timeout:      { status: 504, close: 1013, retryable: false, say: (f) => `${nodeName(f)} did not answer within ${f.limit ?? "the deadline"}` },
  right_ended:           { status: 403, close: 1008, retryable: false, say: (f) => `access ended: ${f.reason ?? "the token's right ended"}` },
  client_too_slow:       { status: 408, close: 1008, retryable: false, say: (f) => `the client made no progress for ${f.limit ?? "too long"}` },
  handshake_timeout:     { status: 408, close: 1008, retryable: false, say: () => "the handshake message with the token did not come in time" },
  message_too_large:     { status: 413, close: 1009, retryable: false, say: (f) => `the message is larger than ${f.limit ?? "allowed"}` },
  client_closed:         { status: 499, close: 1001, retryable: false, say: () => "the client closed the connection" }, // logged, never sent
} as const satisfies Record<string, Row>;

export type ErrorCode = keyof typeof table;

/** All codes, for metrics with a closed label set and for the documentation. */
export const errorCodes = Object.keys(table) as readonly ErrorCode[]; // the keys of a literal are its type

/**
 * The one error that crosses parts. The client sees `words`, the code and the request id; `cause` goes to the log alone.
 */
export class GatewayError extends Error {
  readonly code: ErrorCode;
  readonly facts: Facts;

  constructor(code: ErrorCode, facts: Facts = {}, options?: { readonly cause?: unknown }) {
    super(table[code].say(facts), options);
    this.name = "GatewayError";
    this.code = code;
    this.facts = facts;
  }

  get words(): string {
    return this.message;
  }
  get status(): number {
    return table[this.code].status;
  }
  get close(): number {
    return table[this.code].close;
  }
  get retryable(): boolean {
    return table[this.code].retryable;
  }
}

/** Nomad's 400 with its own text. */
export const invalidRequest = (words: string): GatewayError =>
  new GatewayError("invalid_request", { text: words });

/** Nomad's 500 with its own text: what its agents answer for most refusals of an action. */
export const failed = (words: string): GatewayError => new GatewayError("failed", { text: words });

/** Nomad's 404 with its own text. */
export const notFound = (words: string): GatewayError =>
  new GatewayError("not_found", { text: words });

const errnoReasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection reset",
  EPIPE: "connection reset",
  EHOSTUNREACH: "no route to host",
  ENETUNREACH: "no route to network",
  ETIMEDOUT: "connect timed out",
  UND_ERR_CONNECT_TIMEOUT: "connect timed out",
  ENOTFOUND: "its name cannot be resolved",
  EAI_AGAIN: "its name cannot be resolved",
  ERR_CONNECTION_LOST: "connection lost",
  ERR_HTTP2_SESSION_ERROR: "its tunnel broke",
  ERR_HTTP2_STREAM_ERROR: "connection reset",
  UND_ERR_SOCKET: "connection lost",
  CERT_HAS_EXPIRED: "its certificate has expired",
  ERR_TLS_CERT_ALTNAME_INVALID: "its certificate is for another name",
  DEPTH_ZERO_SELF_SIGNED_CERT: "its certificate is not trusted",
  SELF_SIGNED_CERT_IN_CHAIN: "its certificate is not trusted",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "its certificate is not trusted",
};

const connectCodes: ReadonlySet<string> = new Set([
  "ECONNREFUSED", "EHOSTUNREACH", "ENETUNREACH", "ETIMEDOUT", "UND_ERR_CONNECT_TIMEOUT", "ENOTFOUND", "EAI_AGAIN",
  "CERT_HAS_EXPIRED", "ERR_TLS_CERT_ALTNAME_INVALID", "DEPTH_ZERO_SELF_SIGNED_CERT", "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
]); // biome-ignore format: a table

const maxCauseDepth = 8;

/** The first errno-like code in an error's chain of causes. */
export const errnoOf = (error: unknown): string | undefined => {
  let current = error;
  for (let depth = 0; depth < maxCauseDepth && current instanceof Error; depth++) {
    if ("code" in current && typeof current.code === "string") return current.code;
    current = current.cause;
  }
  return undefined;
};

/**
 * The only reader of errno on the way to an agent. Asks first why the signal fired, then walks the chain of causes;
 * what it does not know is `internal`.
 */
export const toGatewayError = (
  error: unknown,
  signal?: AbortSignal,
  node?: string,
): GatewayError => {
  if (signal?.aborted && signal.reason instanceof GatewayError) return signal.reason;
  if (error instanceof GatewayError) return error;
  const named = node === undefined ? {} : { node };
  const code = errnoOf(error);
  if (code === "UND_ERR_HEADERS_TIMEOUT" || code === "UND_ERR_BODY_TIMEOUT")
    return new GatewayError("upstream_timeout", named, { cause: error });
  if (
    code?.startsWith("HPE_") ||
    code === "UND_ERR_HEADERS_OVERFLOW" ||
    code === "UND_ERR_REQ_CONTENT_LENGTH_MISMATCH" ||
    code === "UND_ERR_RES_CONTENT_LENGTH_MISMATCH"
  )
    return new GatewayError("upstream_invalid", named, { cause: error });
  const reason = code === undefined ? undefined : errnoReasons[code];
  if (code === undefined || reason === undefined)
    return new GatewayError("internal", {}, { cause: error });
  return new GatewayError(
    connectCodes.has(code) ? "node_unreachable" : "upstream_broke",
    { ...named, reason },
    { cause: error },
  );
};
