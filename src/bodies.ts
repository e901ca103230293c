/**
 * The small JSON bodies of the routes, decoded with Nomad's words and rebuilt from the documented fields alone: its
 * agents decode these bodies into a whole request, so a stray `AuthToken` or `Region` must not travel on
 * (nomad-acl.md §2.4). Pure: gateway and agent share it.
 */
import { failed, GatewayError, invalidRequest } from "./errors.ts";
import {
  decodeMessage,
  decodeStream,
  decodeWhole,
  GoJsonError,
  type Shape,
} from "./lib/go-json.ts";
import { isJsonObject, type Json, type JsonObject, parseJson } from "./lib/json.ts";
import type { Body } from "./routes.ts";

/** Bytes of any body that a route reads. */
export const maxBodyBytes = 64 * 1024;
/** Bytes of an agent's announcement: a node document with all its attributes. */
export const maxAnnouncementBytes = 256 * 1024;

const string: Shape = { kind: "string", goType: "string" };
const bool: Shape = { kind: "bool", goType: "bool" };

type Struct = Shape & { readonly kind: "struct" };
const struct = (goType: string, name: string, fields: Struct["fields"]): Struct => ({
  kind: "struct",
  goType,
  name,
  fields,
});

const shapes: Readonly<Record<Exclude<Body, "none" | "announce">, Struct>> = {
  metadata: struct("structs.NodeMetaApplyRequest", "NodeMetaApplyRequest", {
    NodeID: string,
    Meta: { kind: "map", goType: "map[string]*string", of: string, optional: true },
  }),
  restart: struct("struct { TaskName string; AllTasks bool }", "", {
    TaskName: string,
    AllTasks: bool,
  }),
  signal: struct("structs.AllocSignalRequest", "AllocSignalRequest", {
    Task: string,
    Signal: string,
  }),
  pause: struct("struct { Task string; ScheduleState string }", "", {
    Task: string,
    ScheduleState: string,
  }),
  search: struct("structs.SearchRequest", "SearchRequest", {
    Prefix: string,
    Context: { kind: "string", goType: "structs.Context" },
  }),
};

const decode = (
  text: string,
  shape: Struct,
  refuse: (words: string) => GatewayError,
  read = decodeStream,
): JsonObject => {
  try {
    const value = read(text, shape);
    return isJsonObject(value) ? value : {};
  } catch (error) {
    if (error instanceof GoJsonError) throw refuse(error.message);
    throw error;
  }
};

const signalFault = (words: string): GatewayError =>
  invalidRequest(`Failed to decode body: ${words}`);

const scheduleStates: ReadonlySet<unknown> = new Set(["pause", "run", "scheduled"]);

const metadataBody = (text: string | undefined): JsonObject => {
  if (text === undefined) throw invalidRequest("Request body is empty");
  const body = decode(text, shapes.metadata, invalidRequest);
  const meta = body["Meta"];
  if (!isJsonObject(meta) || Object.keys(meta).length === 0)
    throw invalidRequest("missing required Meta object");
  return body;
};

/** Routes whose body may be left out take blanks for none. */
const orEmpty = (text = ""): string => (text.trim() === "" ? "{}" : text);

const pauseBody = (text: string | undefined): JsonObject => {
  const body = decode(orEmpty(text), shapes.pause, failed);
  if (!scheduleStates.has(body["ScheduleState"]))
    throw invalidRequest("Not a valid task schedule state");
  return body;
};

const wholeJson = (text: string): Json => {
  try {
    return parseJson(text);
  } catch (cause) {
    throw new GatewayError("bad_request", { text: "the body is not JSON" }, { cause });
  }
};

const restartBody = (text: string | undefined): JsonObject =>
  decode(orEmpty(text), shapes.restart, failed);

const announcement = (text: string): JsonObject => {
  const node = wholeJson(text);
  if (!isJsonObject(node))
    throw new GatewayError("bad_request", {
      text: "the announcement must be a JSON object: a Nomad node",
    });
  return node;
};

/**
 * The body of a route, rebuilt. `text` is undefined when the request has none (no length, or length 0). Throws Nomad's
 * 400 or 500 with its words.
 */
export const parseBody = (kind: Body, text: string | undefined): JsonObject | undefined => {
  switch (kind) {
    case "none":
      return undefined;
    case "metadata":
      return metadataBody(text);
    case "restart":
      return restartBody(text);
    case "signal":
      if (text === undefined) throw signalFault("Request body is empty");
      return decode(text, shapes.signal, signalFault);
    case "pause":
      return pauseBody(text);
    case "announce":
      return announcement(text ?? "");
    case "search":
      if (text === undefined) throw invalidRequest("Request body is empty");
      return decode(text, shapes.search, invalidRequest);
  }
};

const commandShape: Shape = { kind: "list", goType: "[]string", of: string };

/** The `command` parameter of exec: a JSON array of strings (nomad-http.md §7.5). */
export const decodeCommand = (text: string): readonly string[] => {
  try {
    const words = decodeWhole(text, commandShape);
    return Array.isArray(words) ? words.map(String) : [];
  } catch (error) {
    if (error instanceof GoJsonError)
      throw failed(`failed to marshal command into json: ${error.message}`);
    throw error;
  }
};

const handshakeShape = struct("agent.wsHandshakeMessage", "wsHandshakeMessage", {
  version: { kind: "int", goType: "int" },
  auth_token: string,
});

/** The first message of a `ws_handshake=true` socket (§7.2): the token, "" for none. Faults are 1008. */
export const decodeHandshake = (text: string): string => {
  const message = decode(text, handshakeShape, invalidRequest, decodeMessage);
  if (message["version"] !== 1)
    throw invalidRequest(`unexpected handshake value: ${String(message["version"])}`);
  return String(message["auth_token"]);
};
