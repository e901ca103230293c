/** An answer held whole before a byte of it is sent: short calls, and the text of every refusal. */
import { nodeHeader } from "../answer.ts";
import { GatewayError } from "../errors.ts";
import type { HttpResponse, Tally } from "../ports.ts";
import type { Headers } from "../upstream/head.ts";
import type { Listener } from "./ask.ts";
import { type Content, checkStatus, toClient } from "./headers.ts";

export interface Collecting {
  readonly response: HttpResponse;
  readonly tally: Tally;
  /** Told when the head is there. */
  readonly heard: () => void;
  readonly node: string;
  readonly content: Content;
  readonly maxBytes: number;
}

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
const refusalHeaders = (status: number, node: string): Record<string, string> =>
  status < firstRefusal
    ? {}
    : {
        "X-Serai-Error": refusals[status] ?? "failed",
        ...nodeHeader(node),
      };

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

interface Answer {
  readonly status: number;
  readonly body: Buffer;
}

const settled = (status: number, body: Buffer): Answer =>
  status >= firstRefusal && body.length <= maxTextBytes && refusesToken(body.toString())
    ? { status: 403, body: denied }
    : { status, body };

/** A listener that answers when all has come. Its bound passed is `upstream_invalid`. */
export const collect = ({
  response,
  tally,
  heard,
  node,
  content,
  maxBytes,
}: Collecting): Listener => {
  const chunks: Buffer[] = [];
  let bytes = 0;
  let status = 0;
  let headers: Record<string, string> = {};
  return {
    head(answered: number, from: Headers) {
      status = checkStatus(answered, node);
      headers = toClient(from, content, node);
      heard();
      return "collects";
    },
    data(chunk, done) {
      bytes += chunk.length;
      if (bytes > maxBytes)
        throw new GatewayError("upstream_invalid", { node, reason: `more than ${maxBytes} bytes` });
      chunks.push(done === undefined ? chunk : Buffer.from(chunk));
      done?.();
      return true;
    },
    end() {
      const [first] = chunks;
      const whole = chunks.length === 1 && first ? first : Buffer.concat(chunks);
      const answer = settled(status, whole);
      const unknown =
        status === 404 && whole.length <= maxTextBytes
          ? unknownAllocation(whole.toString(), node)
          : undefined;
      if (unknown !== undefined) throw unknown;
      const length = answer.status === 204 ? {} : { "Content-Length": answer.body.length };
      response.writeHead(answer.status, {
        ...headers,
        ...refusalHeaders(answer.status, node),
        ...length,
      });
      tally.bytesOut += answer.body.length;
      response.end(response.req.method === "HEAD" ? undefined : answer.body);
    },
  };
};
