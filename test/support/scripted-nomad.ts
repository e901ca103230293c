/**
 * A Nomad server by script: a real HTTP server with the allocations, nodes and event stream of Nomad 2.0.5's shapes, and
 * every way in which such a server fails. What it does of itself is what a real one does; `overrides` does the rest.
 */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { isJsonObject, type JsonObject, parseJson, stringifyJson } from "../../src/lib/json.ts";
import type { NodeEntry, Placement } from "../../src/ports.ts";

const templates = parseJson(
  readFileSync(new URL("../registry/nomad/documents.json", import.meta.url), "utf8"),
);

const template = (name: string): JsonObject => {
  const found = isJsonObject(templates) ? templates[name] : undefined;
  if (!isJsonObject(found)) throw new TypeError(`documents.json has no ${name}`);
  return found;
};

export const templateOf = {
  allocation: template("allocation"),
  allocationStub: template("allocationStub"),
  node: template("node"),
  nodeStub: template("nodeStub"),
};

interface Held {
  readonly placement: Placement;
  readonly createIndex: number;
  readonly modifyIndex: number;
}

const allocationFields = ({ placement, createIndex, modifyIndex }: Held): JsonObject => ({
  ID: placement.id,
  Namespace: placement.namespace,
  NodeID: placement.nodeId,
  JobID: placement.jobId,
  TaskGroup: placement.taskGroup,
  ClientStatus: placement.terminal ?? "running",
  CreateIndex: createIndex,
  ModifyIndex: modifyIndex,
});

export const allocationDocument = (held: Held): JsonObject => ({
  ...templateOf.allocation,
  ...allocationFields(held),
});

export const allocationStub = (held: Held): JsonObject => ({
  ...templateOf.allocationStub,
  ...allocationFields(held),
});

export const nodeDocument = (node: NodeEntry): JsonObject => ({
  ...templateOf.node,
  ID: node.id,
  Name: node.name,
  Status: node.status,
  HTTPAddr: node.address,
  TLSEnabled: node.tls,
});

const nodeStub = (node: NodeEntry): JsonObject => ({
  ...templateOf.nodeStub,
  ID: node.id,
  Name: node.name,
  Status: node.status,
  Address: node.address.replace(/:\d+$/, ""),
});

export const allocationEvent = (held: Held, type = "AllocationUpdated"): JsonObject => ({
  Topic: "Allocation",
  Type: type,
  Key: held.placement.id,
  Namespace: held.placement.namespace,
  FilterKeys: [held.placement.jobId, ""],
  Index: held.modifyIndex,
  Payload: { Allocation: allocationDocument(held), Timeout: false, TimeoutReason: "" },
});

export const nodeEvent = (
  node: NodeEntry,
  index: number,
  type = "NodeRegistration",
): JsonObject => ({
  Topic: "Node",
  Type: type,
  Key: node.id,
  Namespace: "",
  FilterKeys: null,
  Index: index,
  Payload: { Node: nodeDocument(node) },
});

export const eventLine = (index: number, events: readonly JsonObject[]): string =>
  `${stringifyJson({ Index: index, Events: events })}\n`;

/** What a manager alone hears of. */
export const aclEvent = (topic: AclTopic, index: number, type: string): JsonObject => ({
  Topic: topic,
  Type: type,
  Key: "5ed1b7f0-8d47-1d3b-6b04-4a36c1d3f2a5",
  Namespace: "",
  FilterKeys: null,
  Index: index,
  Payload: {},
});

export type AclTopic = "ACLToken" | "ACLPolicy" | "ACLRole";
type Topic = AclTopic | "Allocation" | "Node";

interface Entry {
  readonly index: number;
  readonly topic: Topic;
  readonly line: string;
}

interface Seen {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly token: string | undefined;
  readonly headers: IncomingHttpHeaders;
}

const seenOf = (request: IncomingMessage): Seen => {
  const { pathname, searchParams } = new URL(request.url ?? "/", "http://nomad");
  const token = request.headers["x-nomad-token"];
  return {
    method: request.method ?? "",
    path: pathname,
    query: searchParams,
    token: typeof token === "string" ? token : undefined,
    headers: request.headers,
  };
};

export interface ScriptedNomadOptions {
  /** Between heartbeats of the stream; 30 s in a real one. */
  readonly heartbeatMs?: number;
  /** Entries that the stream can give again. */
  readonly bufferSize?: number;
  readonly index?: number;
  readonly tls?: { readonly cert: Buffer; readonly key: Buffer } | undefined;
}

const byCreateIndex = (a: Held, b: Held): number =>
  a.createIndex - b.createIndex || (a.placement.id < b.placement.id ? -1 : 1);

/** Ways in which a server answers other than it should, for `overrides`. */
export const answers = {
  /** As an agent whose limit of connections is reached: the raw answer, and the end. */
  tooManyConnections: (request: IncomingMessage): void => {
    request.socket.end(
      "HTTP/1.1 429 Too Many Requests\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n" +
        "Your IP is issuing too many concurrent connections, please rate limit your calls\n",
    );
  },
  refuse:
    (status: number, body: string) =>
    (_request: IncomingMessage, response: ServerResponse): void => {
      response.writeHead(status, { "content-type": "text/plain; charset=utf-8" }).end(body);
    },
  /** The head promises more than the body brings. */
  half: (request: IncomingMessage): void => {
    request.socket.end(
      'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Nomad-Index: 7\r\nContent-Length: 900\r\n\r\n[{"ID":"54bc24bf',
    );
  },
  json:
    (text: string, headers: Readonly<Record<string, string>> = {}) =>
    (_request: IncomingMessage, response: ServerResponse): void => {
      response
        .writeHead(200, { "content-type": "application/json", "x-nomad-index": "7", ...headers })
        .end(text);
    },
  never: (): void => {},
  cut: (request: IncomingMessage): void => {
    request.socket.destroy();
  },
} satisfies Record<string, unknown>;

const isHeard = (topics: ReadonlySet<string>, topic: Topic): boolean =>
  topics.size === 0 || topics.has(topic);

/** One topic is enough to refuse the stream. Streams of all topics are let pass here, for who wants them. */
const needsManager = (topics: ReadonlySet<string>): boolean =>
  [...topics].some((topic) => topic.startsWith("ACL"));

export type UpgradeScript = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

export class ScriptedNomad implements AsyncDisposable {
  /** Every request, in order. */
  readonly requests: Seen[] = [];
  /** By path; what is here answers instead. */
  readonly overrides = new Map<string, RequestListener>();
  /** The same for upgrades; without one here they are requests like any other. */
  readonly upgrades = new Map<string, UpgradeScript>();
  /** Which tokens may read everything. */
  permits: (token: string | undefined) => boolean = () => true;
  /** Which of them are managers'. */
  manages: (token: string | undefined) => boolean = () => false;
  /** False: streams get no heartbeat and no event any more, and nothing closes them. */
  speaks = true;
  index: number;
  /** What asks for another one is not passed on: there is none. */
  region = "global";
  readonly #server: Server;
  readonly #options: Required<Omit<ScriptedNomadOptions, "tls">>;
  readonly #scheme: "http" | "https";
  readonly #held = new Map<string, Held>();
  readonly #nodes = new Map<string, NodeEntry>();
  readonly #streams = new Map<ServerResponse, ReadonlySet<string>>();
  readonly #upgraded = new Set<Duplex>();
  #buffer: Entry[] = [];
  #heartbeat: NodeJS.Timeout | undefined;
  #port = 0;
  #sent: Promise<void> | undefined;

  private constructor({ tls, ...options }: ScriptedNomadOptions) {
    this.#options = { heartbeatMs: 0, bufferSize: 100, index: 10, ...options };
    this.index = this.#options.index;
    const take: RequestListener = (request, response) => this.#take(request, response);
    const shouldUpgradeCallback = (request: IncomingMessage): boolean =>
      this.upgrades.has(seenOf(request).path);
    this.#scheme = tls === undefined ? "http" : "https";
    this.#server =
      tls === undefined
        ? createServer({ shouldUpgradeCallback }, take)
        : createSecureServer({ shouldUpgradeCallback, ...tls }, take);
    this.#server.on("upgrade", (request, socket, head) => this.#upgrade(request, socket, head));
  }

  static async start(options: ScriptedNomadOptions = {}): Promise<ScriptedNomad> {
    const nomad = new ScriptedNomad(options);
    await nomad.listen();
    const { heartbeatMs } = nomad.#options;
    if (heartbeatMs > 0) nomad.#heartbeat = setInterval(() => nomad.beat(), heartbeatMs);
    return nomad;
  }

  get origin(): string {
    return `${this.#scheme}://127.0.0.1:${this.#port}`;
  }

  /** Streams that are open. */
  get streams(): number {
    return this.#streams.size;
  }

  asked(path: string): readonly Seen[] {
    return this.requests.filter((seen) => seen.path === path);
  }

  /* ---- what it knows ---- */

  /** Allocations of one write: one line of the stream. */
  put(...placements: readonly Placement[]): void {
    this.index++;
    const events = placements.map((placement) => allocationEvent(this.#keep(placement)));
    this.#emit("Allocation", events);
  }

  /** Known without an event, as everything is that is older than the buffer. */
  know(...placements: readonly Placement[]): void {
    this.index++;
    for (const placement of placements) this.#keep(placement);
  }

  /** Gone without an event, as the collector of garbage does it. */
  collect(...ids: readonly string[]): void {
    this.index++;
    for (const id of ids) this.#held.delete(id);
  }

  register(node: NodeEntry, type = "NodeRegistration"): void {
    this.index++;
    this.#nodes.set(node.id, node);
    this.#emit("Node", [nodeEvent(node, this.index, type)]);
  }

  /** Tokens, policies or roles have changed, each by a write of its own. */
  changeAcl(topic: AclTopic, type: string, times = 1): void {
    for (let time = 0; time < times; time++) {
      this.index++;
      this.#emit(topic, [aclEvent(topic, this.index, type)]);
    }
  }

  knowNode(...nodes: readonly NodeEntry[]): void {
    this.index++;
    for (const node of nodes) this.#nodes.set(node.id, node);
  }

  forgetNode(id: string): void {
    this.index++;
    this.#nodes.delete(id);
  }

  /* ---- how it fails ---- */

  beat(): void {
    this.say("{}\n");
  }

  /** Raw text to every stream, or to those of a topic. */
  say(text: string, topic?: Topic): void {
    if (!this.speaks) return;
    for (const [stream, topics] of this.#streams)
      if (topic === undefined || isHeard(topics, topic)) stream.write(text);
  }

  /** Ends the streams: `end` as an older server does, `reset` as a dying one. */
  cutStreams(how: "end" | "reset" = "end"): void {
    for (const stream of this.#streams.keys()) {
      this.#streams.delete(stream);
      if (how === "end") stream.end();
      else stream.destroy();
    }
  }

  /** A restarted server: the stream's buffer is empty. */
  forgetEvents(): void {
    this.#buffer = [];
  }

  /** A restored server: its index runs backwards; what came after is gone. */
  restoreTo(index: number): void {
    this.index = index;
    this.#buffer = this.#buffer.filter((entry) => entry.index <= index);
  }

  /** Nothing listens any more, and every connection is cut. */
  async lose(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    this.#server.closeAllConnections();
    for (const socket of this.#upgraded) socket.destroy();
    await closed;
  }

  /** Listens (again), on the port it had. */
  async listen(): Promise<void> {
    this.#server.listen(this.#port, "127.0.0.1");
    await once(this.#server, "listening");
    this.#port = (this.#server.address() as AddressInfo).port; // a TCP server's address is one
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#heartbeat);
    if (this.#server.listening) await this.lose();
  }

  /* ---- answers ---- */

  #keep(placement: Placement): Held {
    const createIndex = this.#held.get(placement.id)?.createIndex ?? this.index;
    const held = { placement, createIndex, modifyIndex: this.index };
    this.#held.set(placement.id, held);
    return held;
  }

  #emit(topic: Topic, events: readonly JsonObject[]): void {
    const line = eventLine(this.index, events);
    this.#buffer.push({ index: this.index, topic, line });
    if (this.#buffer.length > this.#options.bufferSize) this.#buffer.shift();
    this.say(line, topic);
  }

  #take(request: IncomingMessage, response: ServerResponse): void {
    const seen = seenOf(request);
    this.requests.push(seen);
    const override = this.overrides.get(seen.path);
    if (override) override(request, response);
    else this.answer(request, response);
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const seen = seenOf(request);
    this.requests.push(seen);
    this.#upgraded.add(socket);
    socket.on("error", () => undefined);
    socket.once("close", () => this.#upgraded.delete(socket));
    this.upgrades.get(seen.path)?.(request, socket, head);
  }

  /** Answers of itself, as it would without an override; sends what it knows now when `sent` resolves. */
  answer(request: IncomingMessage, response: ServerResponse, sent?: Promise<void>): void {
    this.#sent = sent;
    const seen = seenOf(request);
    const { path: pathname, query } = seen;
    if (pathname === "/v1/event/stream") this.#stream(seen, response);
    else if ((query.get("region") ?? this.region) !== this.region)
      answers.refuse(500, "No path to region")(request, response);
    else if (!this.permits(seen.token)) answers.refuse(403, "Permission denied")(request, response);
    else if (pathname === "/v1/allocations") this.#allocations(seen, response);
    else if (pathname === "/v1/nodes") this.#list(response, this.#nodePage(seen.query));
    else if (pathname.startsWith("/v1/node/")) this.#node(pathname.slice(9), request, response);
    else answers.refuse(404, "not scripted")(request, response);
  }

  /** The head always says 200; who may not read gets nothing after it. */
  #stream({ query, token }: Seen, response: ServerResponse): void {
    response.removeHeader("transfer-encoding"); // until the connection ends, as in Nomad
    response.writeHead(200, {
      "cache-control": "no-cache",
      "content-type": "application/json",
      connection: "close",
    });
    response.flushHeaders();
    if ((query.get("region") ?? this.region) !== this.region) return;
    const topics = new Set(query.getAll("topic"));
    if (!this.permits(token) || (needsManager(topics) && !this.manages(token))) return;
    this.#streams.set(response, topics);
    response.once("close", () => this.#streams.delete(response));
    if (!this.speaks) return;
    response.write("{}\n");
    for (const { line, topic } of this.#replay(Number(query.get("index") ?? 0)))
      if (isHeard(topics, topic)) response.write(line);
  }

  /** From the index on; from its oldest entry when that is gone; its newest when the index is not there yet. */
  #replay(index: number): readonly Entry[] {
    const from = this.#buffer.findIndex((entry) => entry.index >= index);
    return from === -1 ? this.#buffer.slice(-1) : this.#buffer.slice(from);
  }

  #allocations({ query }: Seen, response: ServerResponse): void {
    const prefix = query.get("prefix") ?? "";
    const namespace = query.get("namespace") ?? "default";
    const held = [...this.#held.values()]
      .filter(({ placement }) => placement.id.startsWith(prefix))
      .filter(({ placement }) => namespace === "*" || placement.namespace === namespace)
      .toSorted(byCreateIndex);
    const tokenOf = ({ placement, createIndex }: Held): string => `${createIndex}.${placement.id}`;
    const wanted = query.get("next_token");
    const start = wanted === null ? 0 : held.findIndex((one) => tokenOf(one) === wanted);
    const perPage = Number(query.get("per_page") ?? held.length);
    const end = start + perPage;
    const next = held[end];
    this.#list(response, {
      items: held.slice(start, end).map(allocationStub),
      next: perPage > 0 && next ? tokenOf(next) : undefined,
    });
  }

  #nodePage(query: URLSearchParams): { items: JsonObject[]; next: string | undefined } {
    const token = query.get("next_token") ?? "";
    const nodes = [...this.#nodes.values()]
      .toSorted((a, b) => (a.id < b.id ? -1 : 1))
      .filter(({ id }) => id >= token);
    const perPage = Number(query.get("per_page") ?? nodes.length);
    return { items: nodes.slice(0, perPage).map(nodeStub), next: nodes[perPage]?.id };
  }

  #list(
    response: ServerResponse,
    { items, next }: { readonly items: readonly JsonObject[]; readonly next: string | undefined },
  ): void {
    const head = {
      "content-type": "application/json",
      "x-nomad-index": String(this.index),
      "x-nomad-knownleader": "true",
      "x-nomad-lastcontact": "0",
      ...(next === undefined ? {} : { "x-nomad-nexttoken": next }),
    };
    const text = stringifyJson(items);
    const send = (): void => {
      response.writeHead(200, head).end(text);
    };
    if (this.#sent) void this.#sent.then(send);
    else send();
  }

  #node(id: string, request: IncomingMessage, response: ServerResponse): void {
    const node = this.#nodes.get(id);
    if (!node) {
      answers.refuse(404, "node not found")(request, response);
      return;
    }
    response
      .writeHead(200, {
        "content-type": "application/json",
        "x-nomad-index": String(this.index),
      })
      .end(stringifyJson(nodeDocument(node)));
  }
}
