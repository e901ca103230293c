/** The protocol that a browser is driven by: commands with answers, and events by page. */
import assert from "node:assert/strict";
import { once } from "node:events";
import WebSocket from "ws";
import { isJsonObject, type Json, type JsonObject, parseJson } from "../../src/lib/json.ts";

export interface Protocol {
  readonly send: (method: string, params?: object, session?: string) => Promise<JsonObject>;
  readonly listen: (session: string, heard: (method: string, params: JsonObject) => void) => void;
}

export const objectOf = (value: Json | undefined): JsonObject => (isJsonObject(value) ? value : {});
export const textOf = (value: Json | undefined): string =>
  typeof value === "string" ? value : value === undefined ? "" : JSON.stringify(value);

export const connectDevtools = async (
  url: string,
): Promise<Protocol & { readonly close: () => void }> => {
  const socket = new WebSocket(url, { maxPayload: 256 * 1024 * 1024 });
  const waiting = new Map<number, (answer: JsonObject) => void>();
  const listeners = new Map<string, (method: string, params: JsonObject) => void>();
  let last = 0;
  socket.on("error", () => {}); // what it means is seen by its end
  socket.on("message", (data) => {
    const message = objectOf(parseJson(String(data)));
    const id = Number(message["id"] ?? 0);
    waiting.get(id)?.(message);
    waiting.delete(id);
    const method = textOf(message["method"]);
    if (method !== "")
      listeners.get(textOf(message["sessionId"]))?.(method, objectOf(message["params"]));
  });
  socket.on("close", () => {
    for (const answer of waiting.values()) answer({ error: "the browser has ended" });
    waiting.clear();
  });
  await once(socket, "open");
  return {
    send: async (method, params = {}, session) => {
      last += 1;
      const id = last;
      const message = {
        id,
        method,
        params,
        ...(session === undefined ? {} : { sessionId: session }),
      };
      const answer = await new Promise<JsonObject>((resolve) => {
        waiting.set(id, resolve);
        socket.send(JSON.stringify(message));
      });
      assert.equal(answer["error"], undefined, `${method}: ${textOf(answer["error"])}`);
      return objectOf(answer["result"]);
    },
    listen: (session, heard) => void listeners.set(session, heard),
    close: () => socket.terminate(),
  };
};
