/** One `stat` beside what a caller asked for: a file as it is now. */
import { GatewayError } from "../errors.ts";
import { routeNamed } from "../routes.ts";
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

/** Asks for the file's description; undefined when that is refused, which `refusal` gets. */
export const look = async (
  carrying: Carrying,
  refusal: Listener,
  deadlineMs = deadlineMsOf(carrying),
): Promise<SeenFile | undefined> => {
  const { exchange, reach, limits } = carrying;
  const node = reach.node.name;
  const chunks: Buffer[] = [];
  let bytes = 0;
  let tag: unknown;
  let refused = false;
  const terms = {
    reach,
    signal: exchange.signal,
    deadlineMs,
    silenceMs: 0,
  };
  await ask(agentRequest({ ...exchange, route: stat }, reach.node), terms, {
    head(status, headers, flow) {
      refused = checkStatus(status, node) >= firstRefusal;
      if (refused) return refusal.head(status, headers, flow);
      tag = headers["etag"];
      return "collects";
    },
    data(chunk, done) {
      if (refused) return refusal.data(chunk, done);
      bytes += chunk.length;
      if (bytes > limits.maxRefusalBytes)
        throw new GatewayError("upstream_invalid", { node, reason: "its stat is too long" });
      chunks.push(Buffer.from(chunk));
      done?.();
      return true;
    },
    end() {
      if (refused) refusal.end();
    },
  });
  return refused ? undefined : seenFile(Buffer.concat(chunks).toString(), tag, node);
};
