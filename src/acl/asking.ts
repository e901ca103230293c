/** One question to whoever holds the tokens: bounded in bytes and in time, and never more than "away" when it fails. */
import { type Dispatcher, request } from "undici";
import { type ErrorCode, GatewayError, toGatewayError } from "../errors.ts";
import { type Json, parseJson } from "../lib/json.ts";
import { readBounded } from "../lib/read-bounded.ts";
import { unavailable } from "./principals.ts";

const maxAnswerBytes = 1024 * 1024;
const maxWordsLength = 256;

export interface Told {
  readonly status: number;
  /** Of a 200. */
  readonly document: Json | undefined;
  /** The beginning of any other answer. */
  readonly words: string;
}

export type Ask = (path: string) => Promise<Told>;

/** The source cannot say now. */
export const away = (reason: string, cause?: unknown): GatewayError =>
  unavailable(`its source ${reason}`, cause);

export interface Source {
  readonly origin: string;
  /** TLS, certificates and proxies are its matter; undici's own when absent. */
  readonly dispatcher: Dispatcher | undefined;
  /** "" asks as anonymous. */
  readonly secret: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Told when the source could not be dialled, did not answer in time or broke off. */
  readonly lost: (code: ErrorCode) => void;
}

const documentOf = (text: string): Json => {
  try {
    return parseJson(text);
  } catch (error) {
    throw away("gave no usable answer", error);
  }
};

const tooLarge = (): Error => away(`gave an answer larger than ${maxAnswerBytes} bytes`);

const send = async (source: Source, path: string): Promise<Told> => {
  const { origin, dispatcher, secret, timeoutMs, signal } = source;
  const { statusCode, body } = await request(`${origin}${path}`, {
    ...(dispatcher === undefined ? {} : { dispatcher }),
    headers: secret === "" ? {} : { "x-nomad-token": secret },
    headersTimeout: timeoutMs,
    bodyTimeout: timeoutMs,
    signal,
  });
  const text = (await readBounded(body, maxAnswerBytes, tooLarge)).toString();
  return statusCode === 200
    ? { status: statusCode, document: documentOf(text), words: "" }
    : { status: statusCode, document: undefined, words: text.slice(0, maxWordsLength) };
};

/** What went wrong, told to `lost` when it was the connection. */
const failureOf = (error: unknown, { signal, lost }: Source): GatewayError => {
  if (signal.aborted) {
    lost("upstream_timeout");
    return away("did not answer in time", error);
  }
  if (error instanceof GatewayError) return error; // an answer, but no usable one
  const { code, facts } = toGatewayError(error);
  lost(code);
  return away(code === "internal" ? "gave no usable answer" : (facts.reason ?? "is away"), error);
};

/** A connection kept open may be closed by the other side just as a question is written to it. */
const mayAskAgain = (error: unknown, { signal }: Source): boolean =>
  !signal.aborted && toGatewayError(error).code === "upstream_broke";

export const asker =
  (source: Source): Ask =>
  async (path) => {
    try {
      return await send(source, path).catch((error: unknown) => {
        if (mayAskAgain(error, source)) return send(source, path);
        throw error;
      });
    } catch (error) {
      throw failureOf(error, source);
    }
  };
