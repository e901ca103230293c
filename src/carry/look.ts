/** What the gateway asks an agent beside a caller's request, with the caller's own right: a file or directory as it is now. */
import { GatewayError } from "../errors.ts";
import type { Parameters } from "../parameters.ts";
import { type Route, routeNamed } from "../routes.ts";
import type { Headers } from "../upstream/head.ts";
import { ask, type Listener } from "./ask.ts";
import { type Carrying, deadlineMsOf } from "./carriage.ts";
import { checkStatus } from "./headers.ts";
import { agentRequest } from "./request.ts";
import { type SeenFile, seenFile } from "./seen-file.ts";

const stat = routeNamed("fs.stat");
const firstRefusal = 400;

/** Nobody is to be told. */
export const unheard: Listener = {
  head: () => "collects",
  data(_chunk, done) {
    done?.();
    return true;
  },
  end: () => undefined,
};

export interface Question {
  readonly route: Route;
  readonly parameters: Parameters;
  readonly maxBytes: number;
  readonly deadlineMs: number | undefined;
}

export interface Document {
  readonly text: string;
  readonly headers: Headers;
}

/** Undefined when it is refused, which `refusal` gets. */
export const askBeside = async (
  { exchange, reach }: Carrying,
  { route, parameters, maxBytes, deadlineMs }: Question,
  refusal: Listener,
): Promise<Document | undefined> => {
  const node = reach.node.name;
  const chunks: Buffer[] = [];
  let bytes = 0;
  let answered: Headers = {};
  let refused = false;
  const { signal } = exchange;
  const request = agentRequest({ ...exchange, route, parameters }, reach.node);
  await ask(
    request,
    { reach, signal, deadlineMs, silenceMs: 0 },
    {
      head(status, headers, flow) {
        refused = checkStatus(status, node) >= firstRefusal;
        if (refused) return refusal.head(status, headers, flow);
        answered = headers;
        return "collects";
      },
      data(chunk, done, payload) {
        if (refused) return refusal.data(chunk, done, payload);
        bytes += chunk.length;
        if (bytes > maxBytes)
          throw new GatewayError("upstream_invalid", {
            node,
            reason: `its ${route.name} is too long`,
          });
        chunks.push(Buffer.from(chunk));
        done?.();
        return true;
      },
      end() {
        if (refused) refusal.end();
      },
    },
  );
  return refused ? undefined : { text: Buffer.concat(chunks).toString(), headers: answered };
};

/** Asks for the file's description; undefined when that is refused, which `refusal` gets. */
export const look = async (
  carrying: Carrying,
  refusal: Listener,
  deadlineMs = deadlineMsOf(carrying),
): Promise<SeenFile | undefined> => {
  const { parameters } = carrying.exchange;
  const maxBytes = carrying.limits.maxRefusalBytes;
  const document = await askBeside(
    carrying,
    { route: stat, parameters, maxBytes, deadlineMs },
    refusal,
  );
  return document && seenFile(document.text, document.headers["etag"], carrying.reach.node.name);
};
