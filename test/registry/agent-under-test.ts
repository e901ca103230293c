/** An agent as far as the registry asks one: a real HTTP server on loopback whose answers the test sets. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AllocationDocument } from "../../src/documents.ts";
import { stringifyJson } from "../../src/lib/json.ts";

export type Respond = (request: IncomingMessage, response: ServerResponse) => void;

export class AgentUnderTest implements AsyncDisposable {
  readonly nodeId: string;
  readonly #server = createServer((request, response) => this.#respond(request, response));
  #documents: readonly AllocationDocument[] = [];
  #index = 1;
  readonly #wake = new Set<() => void>();
  /** Requests heard, `METHOD path?query`. */
  readonly heard: string[] = [];
  /** Credentials of the last request to each path. */
  readonly authorizations = new Map<string, string | undefined>();
  meta: Record<string, unknown> = { rack: "r1" };
  /** Takes the place of the usual answer to a path, while set. */
  readonly overrides = new Map<string, Respond>();

  private constructor(nodeId: string) {
    this.nodeId = nodeId;
  }

  static async start(nodeId: string = randomUUID()): Promise<AgentUnderTest> {
    const agent = new AgentUnderTest(nodeId);
    agent.#server.listen(0, "127.0.0.1");
    await once(agent.#server, "listening");
    return agent;
  }

  get address(): string {
    const address = this.#server.address();
    assert.ok(address !== null && typeof address === "object");
    return `127.0.0.1:${address.port}`;
  }

  get allocationsPath(): string {
    return `/v1/node/${this.nodeId}/allocations`;
  }

  get documents(): readonly AllocationDocument[] {
    return this.#documents;
  }

  /** What it lists from now on; blocked queries are answered. */
  list(...documents: readonly AllocationDocument[]): void {
    this.#documents = documents;
    this.#index++;
    this.wake();
  }

  /** Loses its index, as an agent started anew. */
  forgetIndex(): void {
    this.#index = 0;
  }

  /** Answers what is blocked, changed or not. */
  wake(): void {
    for (const wake of [...this.#wake]) wake();
  }

  /** Breaks what is connected now. */
  cut(): void {
    this.#wake.clear();
    this.#server.closeAllConnections();
  }

  heardOf(path: string): number {
    return this.heard.filter((line) => line.split(" ")[1]?.split("?")[0] === path).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  #respond(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? "/", "http://agent");
    this.heard.push(`${request.method} ${request.url}`);
    this.authorizations.set(
      url.pathname,
      request.headers.authorization ?? request.headers["x-nomad-token"]?.toString(),
    );
    const override = this.overrides.get(url.pathname);
    if (override) override(request, response);
    else if (url.pathname === this.allocationsPath) this.#answerList(url.searchParams, response);
    else if (url.pathname === "/v1/client/metadata")
      response.end(stringifyJson({ Meta: this.meta, Dynamic: {}, Static: {} }));
    else {
      response.statusCode = 404;
      response.end("Invalid URL");
    }
  }

  #answerList(query: URLSearchParams, response: ServerResponse): void {
    const answer = (): void => {
      clearTimeout(timer);
      this.#wake.delete(answer);
      response.setHeader("X-Nomad-Index", this.#index);
      response.end(stringifyJson(this.#documents));
    };
    this.#wake.add(answer);
    const waitMs = Number.parseInt(query.get("wait") ?? "0", 10);
    const timer = setTimeout(answer, waitMs);
    response.on("close", () => clearTimeout(timer));
    if (this.#index > Number(query.get("index"))) answer();
  }
}
