/** What a page asked for, how it was answered, and what was complained of. */
import type { Json, JsonObject } from "../../src/lib/json.ts";
import { objectOf, textOf } from "./devtools.ts";

/** One thing that a page asked for. */
export interface Asked {
  readonly method: string;
  readonly url: string;
  /** 0 until it is answered; 101 for a WebSocket that opened. */
  status: number;
  /** Why it failed without an answer, in the browser's words. The page's own aborts are no failures. */
  failed: string | undefined;
  /** Of its head and body, as they were on the wire; 0 until it is over. */
  bytes: number;
  /** Of a WebSocket: the payloads of its text frames that came. */
  readonly frames: string[];
}

/** Its own aborts: a page that is left, a log that is paused. */
const isAbort = (params: JsonObject): boolean =>
  params["canceled"] === true || textOf(params["errorText"]) === "net::ERR_ABORTED";

/** Keeps the list of what a page asked for and what was complained of. */
export const watchPage = (asked: Map<string, Asked>, complaints: string[]) => {
  const begin = (id: Json | undefined, method: string, url: Json | undefined): void => {
    const key = textOf(id);
    const before = asked.get(key);
    if (before !== undefined) asked.set(`${key} redirected ${asked.size}`, before);
    asked.set(key, {
      method,
      url: textOf(url),
      status: 0,
      failed: undefined,
      bytes: 0,
      frames: [],
    });
  };
  const answered = (params: JsonObject): void => {
    const one = asked.get(textOf(params["requestId"]));
    if (one) one.status = Number(objectOf(params["response"])["status"] ?? 0);
  };
  const heard: Readonly<Record<string, (params: JsonObject) => void>> = {
    "Network.requestWillBeSent": (params) => {
      const { method, url } = objectOf(params["request"]);
      if (params["redirectResponse"] !== undefined)
        answered({ ...params, response: params["redirectResponse"] });
      begin(params["requestId"], textOf(method), url);
    },
    "Network.responseReceived": answered,
    "Network.webSocketCreated": (params) => begin(params["requestId"], "WEBSOCKET", params["url"]),
    "Network.webSocketHandshakeResponseReceived": answered,
    "Network.webSocketFrameReceived": (params) => {
      const { opcode, payloadData } = objectOf(params["response"]);
      if (Number(opcode) === 1)
        asked.get(textOf(params["requestId"]))?.frames.push(textOf(payloadData));
    },
    "Network.webSocketFrameError": (params) => {
      const one = asked.get(textOf(params["requestId"]));
      if (one) one.failed = textOf(params["errorMessage"]);
    },
    "Network.loadingFinished": (params) => {
      const one = asked.get(textOf(params["requestId"]));
      if (one) one.bytes = Number(params["encodedDataLength"] ?? 0);
    },
    "Network.loadingFailed": (params) => {
      const one = asked.get(textOf(params["requestId"]));
      if (one && !isAbort(params)) one.failed = textOf(params["errorText"]);
    },
    "Runtime.exceptionThrown": (params) => {
      const { text, exception } = objectOf(params["exceptionDetails"]);
      complaints.push(`${textOf(text)} ${textOf(objectOf(exception)["description"])}`);
    },
    "Runtime.consoleAPICalled": (params) => {
      if (params["type"] !== "error") return;
      const words = Array.isArray(params["args"]) ? params["args"] : [];
      complaints.push(
        words
          .map((one) => textOf(objectOf(one)["value"] ?? objectOf(one)["description"]))
          .join(" "),
      );
    },
    "Log.entryAdded": (params) => {
      const { level, text, url } = objectOf(params["entry"]);
      if (level === "error") complaints.push(`${textOf(text)} ${textOf(url)}`);
    },
  };
  return (method: string, params: JsonObject): void => heard[method]?.(params);
};
