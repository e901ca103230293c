/** The types the parts are written against. No code here: each part states what it needs with these. */
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { AllocationDocument, ClientStatus, NodeDocument } from "./documents.ts";
import type { GatewayError } from "./errors.ts";
import type { JsonObject } from "./lib/json.ts";
import type { Derived, Found, Kept } from "./lib/kept.ts";
import type { Parameters, RawQuery } from "./parameters.ts";
import type { Route } from "./routes.ts";
import type { Pool } from "./upstream/pool.ts";

/* ---- who asks ---- */

export interface Credential {
  /** An ACL token's secret or a JWT; undefined is anonymous. Never logged, never a cache key. */
  readonly secret: string | undefined;
  readonly source: "header" | "bearer" | "handshake" | "none";
  /** The caller's, of whose questions about credentials only so many may be under way; without one none is counted. */
  readonly address?: string | undefined;
  /** What was found by it, where this very object comes with each request of its sender. */
  readonly found?: Found;
}

export type Level = "read" | "write";

/** A compiled set of policies (nomad-acl.md §1.6 to §1.8). Pure look-ups, no I/O. */
export interface Acl {
  readonly management: boolean;
  /** A namespace capability; for `*` true when any rule holds it. */
  namespace(namespace: string, capability: string): boolean;
  /** A namespace capability in every namespace there is or may come to be. */
  everywhere(capability: string): boolean;
  /** Any right at all in a namespace. */
  anyIn(namespace: string): boolean;
  node(level: Level): boolean;
  agent(level: Level): boolean;
}

export interface Principal {
  /** Public id for audit and logs: an ACL accessor, `anonymous`, or `jwt:<issuer>:<sub>`. */
  readonly accessorId: string;
  readonly name: string;
  readonly type: "client" | "management";
  readonly policies: readonly string[];
  readonly acl: Acl;
  /** Milliseconds since the epoch; undefined never expires. */
  readonly expiresAtMs: number | undefined;
  /** `service`: agents and servers do not know the caller's credential, and are shown the service token in its place. */
  readonly upstream?: "service";
}

/** Throws `permission_denied` for every refused credential, `identity_unavailable` when its source is away. */
export type Authenticate = (
  credential: Credential,
  signal: AbortSignal,
) => Principal | Promise<Principal>;

/* ---- where it lives ---- */

/** An allocation's entry in the directory. `terminal` is its status once it has ended. */
export interface Placement {
  readonly id: string;
  readonly nodeId: string;
  readonly namespace: string;
  readonly jobId: string;
  readonly taskGroup: string;
  readonly terminal: Exclude<ClientStatus, "pending" | "running" | "unknown"> | undefined;
}

/** A node's entry in the directory. */
export interface NodeEntry {
  readonly id: string;
  readonly name: string;
  readonly status: NodeDocument["Status"];
  /** `host:port` of its agent. */
  readonly address: string;
  readonly tls: boolean;
}

/** Bounded, fed by a feed; look-ups touch memory alone. */
export interface Directory {
  /** The entry now; the id in its canonical form (lib/uuid.ts). */
  allocation(id: string): Placement | undefined;
  node(id: string): NodeEntry | undefined;
  /** On a miss asks the feed once per id (single flight, negative entry 1-2 s). */
  find(id: string, signal: AbortSignal): Promise<Placement | undefined>;
  readonly size: { readonly allocations: number; readonly nodes: number };
}

/** What an exchange is about, once resolved. */
export type Scope =
  | {
      readonly kind: "allocation";
      readonly placement: Placement;
      readonly node: NodeEntry | undefined;
    }
  | { readonly kind: "node"; readonly nodeId: string; readonly node: NodeEntry | undefined }
  | { readonly kind: "namespace"; readonly namespace: string }
  | { readonly kind: "cluster" };

/* ---- the documents behind the registry's own answers ---- */

export type Table = "allocs" | "nodes" | "evals";

/** Whole documents of allocations, nodes and evaluations, with Nomad's index discipline (nomad-http.md §1.8). */
export interface Registry {
  allocation(id: string): AllocationDocument | undefined;
  /** By create index, then id. */
  allocations(): Iterable<AllocationDocument>;
  node(id: string): NodeDocument | undefined;
  /** By id. */
  nodes(): Iterable<NodeDocument>;
  evaluation(id: string): JsonObject | undefined;
  evaluations(): Iterable<JsonObject>;
  /** The last index that touched a table; at least 1. */
  index(table: Table): number;
  /** Resolves when a table's index passes `index`, or when the signal aborts (without throwing). */
  changed(table: Table, index: number, signal: AbortSignal): Promise<void>;
  /** Marks an allocation for stop, tells its agent (now or when it is back), returns the evaluation made for it. */
  stop(
    id: string,
    credential: Credential,
    signal: AbortSignal,
  ): Promise<{ readonly evaluationId: string; readonly index: number }>;
}

/** One of the registry's own answers. `refusal` lets a 404 carry Nomad's index headers. */
export interface Answered {
  /** Written as JSON; undefined is an empty 200. */
  readonly document?: unknown;
  readonly refusal?: GatewayError;
  readonly headers?: Readonly<Record<string, string>>;
}

export type Answer = (
  exchange: Exchange,
  principal: Principal,
  scope: Scope,
) => Answered | Promise<Answered>;

/* ---- how to get there ---- */

/** A way to an agent. Carriage never asks which kind it got. */
export interface Reach {
  readonly node: NodeEntry;
  readonly origin: string;
  /** Asks over kept connections. */
  readonly pool: Pick<Pool, "request" | "endIdle" | "isShort" | "bound">;
  /** A raw connection to the agent (TLS done), for WebSocket and bulk; closed by who asked. */
  connect(signal: AbortSignal): Promise<Duplex>;
  /** What the head of an HTTP answer says of this way. */
  readonly headers: Readonly<Record<string, string>>;
  /** Told by carriage so that the node's circuit learns. */
  failed(error: GatewayError): void;
  succeeded(): void;
  /**
   * The way to take when this one failed before anything was done: there was no connection, or the agent does not know the
   * allocation. Undefined: none is left. Rejects when it has better words than the failure's own.
   */
  next?(error: GatewayError): Promise<Reach | undefined>;
}

/* ---- one request on its way ---- */

/** What is read of a request: node:http's IncomingMessage, or a plain request's (ingress/plain). */
export interface HttpRequest {
  readonly method?: string | undefined;
  /** The target. */
  readonly url?: string | undefined;
  readonly httpVersion: string;
  readonly headers: IncomingHttpHeaders;
  readonly rawHeaders: string[];
  readonly socket: Socket;
  /** All of its body has come. */
  readonly complete: boolean;
  iterator(options: { readonly destroyOnReturn: boolean }): AsyncIterable<Buffer>;
}

type HeaderValue = string | number | readonly string[];

/** What is done to an answer: node:http's ServerResponse, or a plain request's (ingress/plain). */
export interface HttpResponse {
  readonly req: Pick<HttpRequest, "method" | "httpVersion">;
  readonly socket: Socket | null;
  statusCode: number;
  /** True behind a head that states no length. What sets it false writes the chunks itself. */
  chunkedEncoding: boolean;
  readonly headersSent: boolean;
  readonly destroyed: boolean;
  readonly writableEnded: boolean;
  readonly writableFinished: boolean;
  setHeader(name: string, value: HeaderValue): unknown;
  writeHead(status: number, headers?: Record<string, string | number>): unknown;
  flushHeaders(): void;
  /** False: no more until 'drain'. `done` is called when the system has it. */
  write(chunk: Buffer | string, done?: () => void): boolean;
  end(chunk?: Buffer | string): unknown;
  /** 'timeout' is told after so many milliseconds without a byte either way. */
  setTimeout(ms: number): unknown;
  on(event: HttpResponseEvent, listener: () => void): unknown;
  once(event: HttpResponseEvent, listener: () => void): unknown;
  off(event: HttpResponseEvent, listener: () => void): unknown;
  destroy(): unknown;
}

export type HttpResponseEvent = "drain" | "finish" | "close" | "timeout";

/** The caller's side of the wire; only ingress and carriage look inside. */
export type Wire =
  | { readonly kind: "http"; readonly request: HttpRequest; readonly response: HttpResponse }
  | {
      readonly kind: "websocket";
      readonly socket: import("ws").WebSocket;
      /** Messages that came before anybody listened, in order; called once, when carriage has attached its listener. */
      readonly takeHeld: () => readonly HeldMessage[];
    }
  /** An upgrade that is passed on as it is. */
  | { readonly kind: "upgrade"; readonly request: IncomingMessage; readonly socket: Duplex };

export interface HeldMessage {
  readonly data: Buffer;
  readonly isBinary: boolean;
}

export interface Exchange {
  /** Request id: answered as `X-Request-Id`, in every log line. */
  readonly id: string;
  readonly route: Route;
  readonly method: string;
  /** The allocation or node id of the path, query or body as given; what is passed on has its path. "" when there is none. */
  readonly key: string;
  readonly raw: RawQuery;
  /** The route's own parameters, validated. */
  readonly parameters: Parameters;
  /** JSON answers made here are printed for people. */
  readonly pretty: boolean;
  /** A small JSON body, rebuilt from the documented fields; undefined without one. */
  readonly body: JsonObject | undefined;
  readonly credential: Credential;
  readonly client: {
    /** Address after `trust_proxy`. */
    readonly address: string;
    /** Host (and port) as the caller used it. */
    readonly authority: string;
    readonly scheme: "http" | "https";
  };
  /** Aborts when the client leaves, a deadline passes, the right ends or the gateway drains; reason: GatewayError. */
  readonly signal: AbortSignal;
  /** Ends the exchange from outside with a reason. */
  end(reason: GatewayError): void;
  readonly wire: Wire;
  readonly startedAtMs: number;
  readonly tally: Tally;
  readonly kept: Kept;
  readonly derived: Derived;
}

/** Counts and times of one exchange, filled by carriage as they come; times are monotonic. */
export interface Tally {
  bytesIn: number;
  bytesOut: number;
  /** When the caller last took a byte while bytes waited for it; undefined while none waits. */
  callerStalledAtMs: number | undefined;
  /** The same of the agent, for what the caller sends. */
  agentStalledAtMs: number | undefined;
  firstByteMs: number | undefined;
  exitCode: number | undefined;
}

export type Carry = (exchange: Exchange, reach: Reach) => Promise<void>;

/* ---- seams to the outside world ---- */

export interface Clock {
  /** Wall clock, milliseconds since the epoch. */
  now(): number;
  /** Monotonic milliseconds. */
  monotonic(): number;
}

/** One line an event; fields never hold a secret. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

/** Whoever creates, closes. `signal` aborts when patience ends. */
export interface Closer {
  close(signal: AbortSignal): Promise<void>;
}
