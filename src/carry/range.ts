/**
 * `Range` on whole files (RFC 9110 §13.1.5, §14): what `cat` of an agent cannot do is put together from its `stat` and
 * `readat`. The last bytes are held back until a second look has found the same version of the file: what arrives whole
 * is of the one that its ETag names.
 */
import { writeError } from "../answer.ts";
import { failed, GatewayError, invalidRequest } from "../errors.ts";
import { goQuote } from "../lib/go.ts";
import { routeNamed } from "../routes.ts";
import { ask, type Listener } from "./ask.ts";
import { type ByteRange, type Part, parseRange, partOf } from "./byte-range.ts";
import type { Carrying } from "./carriage.ts";
import { collect } from "./collect.ts";
import { statedLength } from "./headers.ts";
import { look, unheard } from "./look.ts";
import { agentRequest } from "./request.ts";
import type { SeenFile } from "./seen-file.ts";
import { copy, handedOver, orCut, type StreamTerms, stream } from "./stream.ts";

const readat = routeNamed("fs.readat");
const firstRefusal = 400;

/** What a caller asked for besides the file: a range, and the version it has a part of. */
export interface RangeAsked {
  readonly range: ByteRange;
  /** `If-Range`. */
  readonly version: string | undefined;
}

/** Undefined when the whole file is to be sent, whatever it is by now. Ranges are GET's; HEAD learns of the version. */
export const rangeAsked = ({ exchange }: Carrying): RangeAsked | undefined => {
  const { method, wire } = exchange;
  if (wire.kind !== "http" || (method !== "GET" && method !== "HEAD")) return undefined;
  const { range: text, "if-range": version } = wire.request.headers;
  const range = parseRange(text);
  return range && { range, version: typeof version === "string" ? version : undefined };
};

const refusalTo = (carrying: Carrying): Listener => collect(carrying, "file");

/** What has come of a part besides what was passed on. */
interface Taken {
  refused: boolean;
  bytes: number;
  /** The end of the part, once it is there. */
  last: Buffer | undefined;
  /** Sent in place of the part: Nomad's agents tell a refusal so, with status 200. */
  words: string;
  /** What comes is the part, as far as its head tells. */
  isPart: boolean;
}

/** Passes on a part but for its last piece. */
const allButTheLast = (
  carrying: Carrying,
  terms: StreamTerms,
  { length }: Part,
  taken: Taken,
): Listener => {
  const node = carrying.reach.node.name;
  const inner = copy(carrying, terms);
  let isFile = true;
  return {
    head(status, headers, flow) {
      taken.refused = status >= firstRefusal;
      if (taken.refused) return inner.head(status, headers, flow);
      // both kinds of agents send it with a file's bytes, and Nomad's with nothing else
      isFile = headers["content-security-policy"] !== undefined;
      taken.isPart = isFile && (statedLength(headers, node) ?? length) === length;
      if (!taken.isPart) return "collects";
      return inner.head(status, { ...headers, "content-length": String(length) }, flow);
    },
    data(chunk, done, payload) {
      if (taken.refused) return inner.data(chunk, done, payload);
      taken.bytes += payload;
      if (taken.bytes > (taken.isPart ? length : carrying.limits.maxRefusalBytes))
        throw new GatewayError("upstream_invalid", { node, reason: "more than was asked for" });
      if (!taken.isPart) {
        if (!isFile) taken.words += chunk.toString();
        done?.();
        return true;
      }
      if (taken.bytes < length) return inner.data(chunk, done, payload);
      taken.last = Buffer.from(chunk);
      done?.();
      return true;
    },
    end() {
      if (taken.refused) inner.end();
    },
  };
};

const changed = (node: string): GatewayError =>
  new GatewayError("upstream_broke", { node, reason: "the file changed while it was read" });

/** Sends a part of a file that is still as it was seen, or cuts the answer. */
const sendPart = (
  carrying: Carrying,
  terms: StreamTerms,
  file: SeenFile,
  part: Part,
): Promise<void> =>
  orCut(carrying, async () => {
    const { exchange, reach, response, tally } = carrying;
    const parameters = { ...exchange.parameters, offset: part.start, limit: part.length };
    const request = agentRequest({ ...exchange, route: readat, parameters }, reach.node);
    const taken: Taken = { refused: false, bytes: 0, last: undefined, words: "", isPart: false };
    const { signal } = exchange;
    const listener = allButTheLast(carrying, terms, part, taken);
    await ask(request, { reach, signal, ...terms }, listener);
    if (!taken.refused) {
      if (taken.words !== "") throw failed(taken.words);
      const now = taken.last && (await look(carrying, unheard));
      if (now?.tag !== file.tag) throw changed(reach.node.name);
      tally.bytesOut += taken.last?.length ?? 0;
      response.end(taken.last);
    }
    await handedOver(carrying, terms);
  });

/** Answers a request with a range: a part, all of it, or that there is no such part. */
export const ranged = async (
  carrying: Carrying,
  terms: StreamTerms,
  { range, version }: RangeAsked,
): Promise<void> => {
  const { exchange, response } = carrying;
  const file = await look(carrying, refusalTo(carrying));
  if (file === undefined) return;
  if (file.isDirectory)
    throw invalidRequest(`file ${goQuote(String(exchange.parameters["path"]))} is a directory`);
  const { size, tag } = file;
  const headers = { ...terms.headers, ETag: tag };
  if (exchange.method === "HEAD" && size > 0)
    return stream(carrying, { ...terms, headers: { ...headers, "Content-Length": String(size) } });
  if (exchange.method === "HEAD" || size === 0) return stream(carrying, terms); // nothing to cut into parts
  if (version !== undefined && version !== tag)
    return sendPart(carrying, { ...terms, headers }, file, { start: 0, length: size });
  const part = partOf(range, size);
  if (part === undefined)
    return writeError(
      response,
      new GatewayError("range_not_satisfiable", { limit: String(size) }),
      { ...headers, "Content-Range": `bytes */${size}` },
    );
  const last = part.start + part.length - 1;
  const said = { ...headers, "Content-Range": `bytes ${part.start}-${last}/${size}` };
  return sendPart(carrying, { ...terms, headers: said, status: 206 }, file, part);
};
