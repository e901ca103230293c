/** What Nomad's servers tell of allocations and nodes, read from their lists and event lines with a cursor. */
import { isUuid } from "../../lib/uuid.ts";
import type { NodeEntry, Placement } from "../../ports.ts";
import type { Change } from "../feed.ts";
import { JsonCursor } from "./json-cursor.ts";

type Terminal = Placement["terminal"];

/** A node as far as one document tells it: lists know no address, an event's payload may lack anything. */
export interface NodeFacts {
  readonly id: string;
  readonly name: string;
  readonly status: NodeEntry["status"];
  /** `host:port`; undefined where the document does not say. */
  readonly address: string | undefined;
  readonly tls: boolean;
}

export type Told =
  | Extract<Change, { readonly kind: "allocation" }>
  | Extract<Change, { readonly kind: "node_gone" }>
  | { readonly kind: "node"; readonly facts: NodeFacts };

const terminalOf = (status: string): Terminal =>
  status === "complete" || status === "failed" || status === "lost" ? status : undefined;

const statusOf = (status: string): NodeEntry["status"] =>
  status === "ready" || status === "down" || status === "disconnected" ? status : "initializing";

/** Reads members by name; what `take` does not take is skipped. */
const members = (cursor: JsonCursor, take: (key: string) => boolean): void => {
  if (!cursor.enterObject()) return;
  for (let key = cursor.nextKey(); key !== undefined; key = cursor.nextKey())
    if (!take(key)) cursor.skip();
};

type Fields = Record<string, string>;

/** The texts of one object whose names are asked for. */
const texts = (
  cursor: JsonCursor,
  wanted: ReadonlySet<string>,
  other: (key: string) => boolean = () => false,
): Fields => {
  const found: Fields = {};
  members(cursor, (key) => {
    if (!wanted.has(key)) return other(key);
    const text = cursor.text();
    if (text !== undefined) found[key] = text;
    return true;
  });
  return found;
};

const allocationFields: ReadonlySet<string> = new Set([
  "ID",
  "Namespace",
  "NodeID",
  "JobID",
  "TaskGroup",
  "ClientStatus",
]);

/** Undefined for what is no allocation on a node. */
export const readAllocation = (cursor: JsonCursor): Placement | undefined => {
  const {
    ID: id = "",
    NodeID: nodeId = "",
    Namespace: namespace = "default",
    JobID: jobId = "",
    TaskGroup: taskGroup = "",
    ClientStatus: status = "",
  } = texts(cursor, allocationFields);
  if (!isUuid(id) || !isUuid(nodeId)) return undefined;
  return { id, nodeId, namespace, jobId, taskGroup, terminal: terminalOf(status) };
};

const nodeFields: ReadonlySet<string> = new Set(["ID", "Name", "Status", "HTTPAddr"]);

export const readNode = (cursor: JsonCursor): NodeFacts | undefined => {
  let tls = false;
  const fields = texts(cursor, nodeFields, (key) => {
    if (key !== "TLSEnabled") return false;
    tls = cursor.flag() ?? false;
    return true;
  });
  const { ID: id = "", Name: name = "", Status: status = "", HTTPAddr: address } = fields;
  if (!isUuid(id)) return undefined;
  return { id, name, status: statusOf(status), address, tls };
};

/** The items of a list, one by one: whoever reads may rest between two. Throws when it is not a list. */
export function* readList<Item>(
  body: Buffer,
  read: (cursor: JsonCursor) => Item | undefined,
): Generator<Item> {
  const cursor = new JsonCursor(body);
  if (!cursor.enterArray()) throw new SyntaxError("the answer is not a list");
  while (cursor.nextElement()) {
    const item = read(cursor);
    if (item !== undefined) yield item;
  }
  cursor.done();
}

/** A whole node's document. */
export const readNodeDocument = (body: Buffer): NodeFacts | undefined => {
  const cursor = new JsonCursor(body);
  const facts = readNode(cursor);
  cursor.done();
  return facts;
};

/* ---- the event stream ---- */

/** The index of a line; undefined for a heartbeat. Nomad writes it first, so that old lines cost nothing. */
export const lineIndex = (line: Buffer): number | undefined => {
  const cursor = new JsonCursor(line);
  if (!cursor.enterObject()) throw new SyntaxError("the line is not an object");
  for (let key = cursor.nextKey(); key !== undefined; key = cursor.nextKey()) {
    if (key === "Index") return cursor.index();
    cursor.skip();
  }
  cursor.done();
  return undefined;
};

const readPayload = (cursor: JsonCursor, topic: string, type: string): Told | undefined => {
  let told: Told | undefined;
  members(cursor, (key) => {
    if (key !== topic) return false;
    if (topic === "Allocation") {
      const placement = readAllocation(cursor);
      if (placement) told = { kind: "allocation", placement };
      return true;
    }
    const facts = readNode(cursor);
    if (facts)
      told =
        type === "NodeDeregistration"
          ? { kind: "node_gone", id: facts.id }
          : { kind: "node", facts };
    return true;
  });
  return told;
};

/** One event; its topic and type stand before its payload, and decide whether that is read at all. */
const readEvent = (cursor: JsonCursor): Told | undefined => {
  let topic = "";
  let type = "";
  let told: Told | undefined;
  members(cursor, (key) => {
    if (key === "Topic") topic = cursor.text() ?? "";
    else if (key === "Type") type = cursor.text() ?? "";
    else if (key === "Payload" && (topic === "Allocation" || topic === "Node"))
      told = readPayload(cursor, topic, type);
    else return false;
    return true;
  });
  return told;
};

/** What a line tells, event by event. Throws when the line cannot be read. */
export function* readLine(line: Buffer): Generator<Told> {
  const cursor = new JsonCursor(line);
  if (!cursor.enterObject()) throw new SyntaxError("the line is not an object");
  for (let key = cursor.nextKey(); key !== undefined; key = cursor.nextKey()) {
    if (key !== "Events" || !cursor.enterArray()) {
      if (key !== "Events") cursor.skip();
      continue;
    }
    while (cursor.nextElement()) {
      const told = readEvent(cursor);
      if (told) yield told;
    }
  }
  cursor.done();
}
