/** An answer held whole before a byte of it is sent: short calls, and the text of every refusal. */
import { nodeHeader } from "../answer.ts";
import { GatewayError } from "../errors.ts";
import type { Headers } from "../upstream/head.ts";
import type { Listener } from "./ask.ts";
import { type Carrying, heard } from "./carriage.ts";
import { cut, delivered } from "./cut.ts";
import { type Content, checkStatus, toClient } from "./headers.ts";

const refusals: Readonly<Record<number, string>> = {
  400: "invalid_request",
  403: "permission_denied",
  404: "not_found",
  405: "invalid_method",
  410: "gone",
  501: "enterprise_only",
};

const firstRefusal = 400;

/** Every refusal bears a code, the agent's own too. */
const refusalHeaders = (status: number, node: string): Readonly<Record<string, string>> => ({
  "X-Serai-Error": refusals[status] ?? "failed",
  ...nodeHeader(node),
});

/** Nomad words a refused token in many ways, by route and hop; here it is one (docs/compatibility.md). */
const refusedToken = /(?:^|: )(?:Permission denied|ACL token (?:expired|not found))$/;

const denied = Buffer.from("Permission denied");
const maxTextBytes = 512;

/** True for an agent's words, whichever it chose, that the credential is refused. */
export const refusesToken = (text: string): boolean => refusedToken.test(text);

/** An agent says so of what the directory places there: it is another agent, or the allocation has moved. */
export const unknownAllocation = (text: string, node: string): GatewayError | undefined => {
  const id = /^(?:rpc error: )?Unknown allocation "([0-9a-f-]{1,36})"$/i.exec(text)?.[1];
  return id === undefined ? undefined : new GatewayError("unknown_allocation", { id, node });
};

const textOf = (body: Buffer): string => (body.length <= maxTextBytes ? body.toString() : "");

/** Answers when all has come. */
class Collecting implements Listener {
  readonly #carrying: Carrying;
  readonly #content: Content;
  readonly #chunks: Buffer[] = [];
  #bytes = 0;
  #status = 0;
  #headers: Record<string, string | number> = {};

  constructor(carrying: Carrying, content: Content) {
    this.#carrying = carrying;
    this.#content = content;
  }

  head(status: number, headers: Headers): "collects" {
    const { name } = this.#carrying.reach.node;
    this.#status = checkStatus(status, name);
    this.#headers = toClient(headers, this.#content, name);
    heard(this.#carrying);
    return "collects";
  }

  data(chunk: Buffer, done: (() => void) | undefined): boolean {
    const { reach, limits } = this.#carrying;
    const maxBytes =
      this.#content === "document" ? limits.maxDocumentBytes : limits.maxRefusalBytes;
    this.#bytes += chunk.length;
    if (this.#bytes > maxBytes)
      throw new GatewayError("upstream_invalid", {
        node: reach.node.name,
        reason: `more than ${maxBytes} bytes`,
      });
    this.#chunks.push(done === undefined ? chunk : Buffer.from(chunk));
    done?.();
    return true;
  }

  end(): void {
    const [first] = this.#chunks;
    const body = this.#chunks.length === 1 && first ? first : Buffer.concat(this.#chunks);
    if (this.#status < firstRefusal) this.#answer(this.#status, body);
    else this.#refuse(body);
  }

  over(): Promise<void> | undefined {
    return this.#carrying.response.writableFinished ? undefined : this.#delivered();
  }

  async #delivered(): Promise<void> {
    const { response, exchange, limits } = this.#carrying;
    try {
      await delivered(response, exchange.signal, limits.stallMs);
    } catch (error) {
      cut(response);
      throw error;
    }
  }

  #refuse(body: Buffer): void {
    const node = this.#carrying.reach.node.name;
    const text = textOf(body);
    const unknown = this.#status === 404 ? unknownAllocation(text, node) : undefined;
    if (unknown !== undefined) throw unknown;
    const isDenied = refusesToken(text);
    const status = isDenied ? 403 : this.#status;
    Object.assign(this.#headers, refusalHeaders(status, node));
    this.#answer(status, isDenied ? denied : body);
  }

  #answer(status: number, body: Buffer): void {
    const { response, tally } = this.#carrying;
    if (status !== 204) this.#headers["Content-Length"] = body.length;
    response.writeHead(status, this.#headers);
    const sent = response.req.method === "HEAD" ? undefined : body;
    tally.bytesOut += sent?.length ?? 0;
    response.end(sent);
  }
}

/**
 * A listener that answers when all has come: a document, or in place of a file what its agent says instead. Too much of it is
 * `upstream_invalid`.
 */
export const collect = (carrying: Carrying, content: Content): Listener =>
  new Collecting(carrying, content);
