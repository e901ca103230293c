/** Followed files and logs: endless, flushed piece by piece. */
import { GatewayError } from "../errors.ts";
import type { Parameters } from "../parameters.ts";
import type { Listener } from "./ask.ts";
import { type Carrying, deadlineMsOf, type HttpCarriage } from "./carriage.ts";
import { resumed } from "./resumed.ts";
import { watch } from "./shared/watch.ts";
import { copy, type StreamTerms, stream } from "./stream.ts";

/** A plain followed log has no heartbeat: Nomad sends not even a head until the task writes (nomad-http.md §8.7). */
const isSilent = ({ plain, follow }: Parameters): boolean => plain === true && follow === true;

/** More than Nomad's agents answer. */
const wantsMore = ({ resume, until, await: awaited }: Parameters): boolean =>
  resume !== undefined || until !== undefined || awaited !== undefined;

/** What an agent that does not know it would take for nothing, and answer with something else. */
const needsMarks = (parameters: Parameters): boolean =>
  wantsMore({
    ...parameters,
    resume: parameters["resume"] === "true" ? undefined : parameters["resume"],
  });

/** Lets through only what an agent of serai's answers, which marks its place. */
const marked = (inner: Listener, node: string): Listener => ({
  ...inner,
  head(status, headers, flow) {
    if (status === 200 && headers["x-serai-resume"] === undefined)
      throw new GatewayError("bad_request", {
        text: `resume=<token>, until and await are not for the agent of node ${node}, which does not know them; use offset and origin`,
      });
    return inner.head(status, headers, flow);
  },
});

/** Logs of agents of serai alone: a file that is followed by its path has no place that one could go on from. */
const isShared = ({ exchange, agents }: Carrying): boolean =>
  agents !== "nomad" &&
  exchange.route.name === "fs.logs" &&
  exchange.parameters["follow"] === true &&
  exchange.method !== "HEAD";

const termsOf = (carrying: Carrying, silent: boolean): StreamTerms => ({
  deadlineMs: silent ? undefined : deadlineMsOf(carrying),
  silenceMs: silent ? 0 : carrying.limits.followSilenceMs,
  stallMs: carrying.limits.followStallMs,
  live: true,
});

export const follow: HttpCarriage = (carrying) => {
  const { parameters } = carrying.exchange;
  if (carrying.agents === "nomad" && wantsMore(parameters))
    return resumed(carrying, termsOf(carrying, false));
  const terms = termsOf(carrying, isSilent(parameters));
  const copying = (): Listener => {
    const listener = copy(carrying, terms);
    return needsMarks(parameters) ? marked(listener, carrying.reach.node.name) : listener;
  };
  if (!isShared(carrying)) return stream(carrying, terms, copying());
  // an agent of serai's answers at once, and beats, whatever the caller is to see of that
  return watch(carrying, { ...terms, deadlineMs: deadlineMsOf(carrying) }, copying);
};
