/** What Nomad's servers tell of allocations and nodes, read from their lists and event lines with a cursor. */
import { isUuid } from "../../lib/uuid.ts";
import type { NodeEntry, Placement } from "../../ports.ts";
import type { Change } from "../feed.ts";
import { JsonCursor, Names } from "./json-cursor.ts";

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

/** Reads the members that are looked for; what `take` does not take is skipped. */
const members = (cursor: JsonCursor, names: Names, take: (name: string) => boolean): void => {
  if (!cursor.enterObject()) return;
  for (let name = cursor.nextName(names); name !== undefined; name = cursor.nextName(names))
    if (name === "" || !take(name)) cursor.skip();
};

/** Told when everything was read that a document has of interest: most of its bytes come after that. */
type Enough = () => void;
const readOn: Enough = () => {};

const allocationFields = ["ID", "Namespace", "NodeID", "JobID", "TaskGroup", "ClientStatus"];
const allocationNames = new Names(allocationFields);

/** Undefined for what is no allocation on a node, or has a name that is too long to be held. */
export const readAllocation = (cursor: JsonCursor, enough = readOn): Placement | undefined => {
  const texts: Record<string, string | undefined> = {};
  let missing = allocationFields.length;
  members(cursor, allocationNames, (name) => {
    if (texts[name] === undefined) missing--;
    texts[name] = cursor.text();
    if (missing === 0) enough();
    return true;
  });
  const {
    ID: id = "",
    NodeID: nodeId = "",
    Namespace: namespace,
    JobID: jobId,
    TaskGroup: taskGroup,
    ClientStatus: status = "",
  } = texts;
  if (!isUuid(id) || !isUuid(nodeId)) return undefined;
  if (namespace === undefined || jobId === undefined || taskGroup === undefined) return undefined;
  return { id, nodeId, namespace, jobId, taskGroup, terminal: terminalOf(status) };
};

const nodeTexts = ["ID", "Name", "Status", "HTTPAddr"];
const nodeNames = new Names([...nodeTexts, "TLSEnabled"]);

export const readNode = (cursor: JsonCursor, enough = readOn): NodeFacts | undefined => {
  const texts: Record<string, string | undefined> = {};
  let tls: boolean | undefined;
  let missing = nodeTexts.length;
  members(cursor, nodeNames, (name) => {
    if (name === "TLSEnabled") tls = cursor.flag() ?? false;
    else {
      if (texts[name] === undefined) missing--;
      texts[name] = cursor.text();
    }
    if (missing === 0 && tls !== undefined) enough();
    return true;
  });
  const { ID: id = "", Name: name = "", Status: status = "", HTTPAddr: address } = texts;
  if (!isUuid(id)) return undefined;
  return { id, name, status: statusOf(status), address, tls: tls ?? false };
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

const lineNames = new Names(["Index", "Events"]);

/** The index of a line; undefined for a heartbeat. Where it stands first, old lines cost nothing. */
export const lineIndex = (line: Buffer): number | undefined => {
  const cursor = new JsonCursor(line);
  if (!cursor.enterObject()) throw new SyntaxError("the line is not an object");
  for (;;) {
    const name = cursor.nextName(lineNames);
    if (name === undefined) break;
    if (name === "Index") return cursor.index();
    cursor.skip();
  }
  cursor.done();
  return undefined;
};

const payloadNames = new Names(["Allocation", "Node"]);

type Payload = Exclude<Told, { readonly kind: "node_gone" }>;

const readPayload = (cursor: JsonCursor, enough: Enough): Payload | undefined => {
  let payload: Payload | undefined;
  members(cursor, payloadNames, (name) => {
    if (name === "Allocation") {
      const placement = readAllocation(cursor, enough);
      if (placement) payload = { kind: "allocation", placement };
    } else {
      const facts = readNode(cursor, enough);
      if (facts) payload = { kind: "node", facts };
    }
    return true;
  });
  return payload;
};

const eventNames = new Names(["Topic", "Type", "Payload"]);
const isOurs = (topic: string): boolean => topic === "Allocation" || topic === "Node";

/** The end of a topic's name: its first byte is rarer than a quote, which makes it quickly looked for. */
const topicName = Buffer.from('Topic"');
const lineEnd = Buffer.from("}]}");

/** One event. Its members come in any order: a payload is skipped only where its topic stands before it. */
const readEvent = (cursor: JsonCursor): Told | undefined => {
  let topic: string | undefined;
  let type: string | undefined;
  let payload: Payload | undefined;
  // an event without a topic is none of ours: where no other follows, the rest of the line, which is most of it, is passed by
  const enough = (): void => {
    if (topic === undefined || type === undefined || !cursor.endsWith(lineEnd)) return;
    if (!cursor.isAhead(topicName)) cursor.finish();
  };
  members(cursor, eventNames, (name) => {
    if (name === "Topic") topic = cursor.text() ?? "";
    else if (name === "Type") type = cursor.text() ?? "";
    else if (topic === undefined || isOurs(topic)) payload = readPayload(cursor, enough);
    else return false;
    return true;
  });
  if (topic === "Allocation") return payload?.kind === "allocation" ? payload : undefined;
  if (topic !== "Node" || payload?.kind !== "node") return undefined;
  return type === "NodeDeregistration" ? { kind: "node_gone", id: payload.facts.id } : payload;
};

/** What a line tells, event by event. Throws when the line cannot be read. */
export function* readLine(line: Buffer): Generator<Told> {
  const cursor = new JsonCursor(line);
  if (!cursor.enterObject()) throw new SyntaxError("the line is not an object");
  for (;;) {
    const name = cursor.nextName(lineNames);
    if (name === undefined) break;
    if (name !== "Events") cursor.skip();
    else if (cursor.enterArray())
      while (cursor.nextElement()) {
        const told = readEvent(cursor);
        if (told) yield told;
      }
  }
  cursor.done();
}
