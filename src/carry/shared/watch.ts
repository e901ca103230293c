/**
 * A viewer of a followed log, from its first byte to its last: by a follow of its own until the shared one has all that is
 * still to come, then from that one's ring; when it is too slow for the ring, by itself again from the byte where it stands.
 */
import { GatewayError } from "../../errors.ts";
import { ask, type Flow, type Listener, type Terms } from "../ask.ts";
import { type Carrying, deadlineMsOf } from "../carriage.ts";
import { type AgentRequest, agentRequest } from "../request.ts";
import { handedOver, orCut, type StreamTerms, sendHead } from "../stream.ts";
import type { Member } from "./member.ts";
import { asked, checkGoesOn, isInRecords, recordBody } from "./records.ts";
import type { Share } from "./share.ts";
import { Viewer } from "./viewer.ts";

/** One viewer on its way. */
interface Watching {
  readonly carrying: Carrying;
  readonly terms: StreamTerms;
  readonly viewer: Viewer;
  /** Takes an answer that is not in records. */
  readonly other: () => Listener;
  share: Share | undefined;
}

const begin = (
  watching: Watching,
  status: number,
  headers: Parameters<typeof sendHead>[3],
): void => {
  const { carrying, terms, viewer } = watching;
  if (viewer.isBegun) return;
  sendHead(carrying, terms, status, headers);
  viewer.begin();
  watching.share = carrying.shares.of(viewer);
  watching.share.add(viewer);
};

const notGoneOn = (node: string, status: number): GatewayError =>
  new GatewayError("upstream_broke", {
    node,
    reason: `the log cannot be gone on with where the viewer stood: it answered ${status}`,
  });

/** Takes the viewer's own follow. `heard`, after each piece of it: whether it goes on. */
const ownListener = (watching: Watching, heard: (flow: Flow | undefined) => boolean): Listener => {
  const { carrying, viewer } = watching;
  const node = carrying.reach.node.name;
  let resumedAt = viewer.stand;
  let flow: Flow | undefined;
  const body = recordBody(
    {
      entry(entry) {
        if (resumedAt !== undefined) checkGoesOn(resumedAt, entry, node);
        resumedAt = undefined;
        viewer.take(entry, 0);
      },
      beat: () => viewer.beat(),
      heard: () => heard(flow),
    },
    node,
  );
  let taker = body;
  return {
    head(status, headers, given) {
      if (!isInRecords(status, headers)) {
        if (viewer.isBegun) throw notGoneOn(node, status);
        const other = watching.other();
        taker = other;
        return other.head(status, headers, given);
      }
      flow = given;
      given.watch(carrying.limits.followSilenceMs); // records beat, also for a plain viewer
      begin(watching, status, headers);
      viewer.source = given;
      return "follows";
    },
    data: (chunk, done) => taker.data(chunk, done),
    end: () => taker.end(),
  };
};

type Times = Pick<Terms, "deadlineMs" | "silenceMs">;

/** Follows by itself; the membership for which it stopped, or undefined at the log's end. */
const own = async (
  watching: Watching,
  request: AgentRequest,
  times: Times,
): Promise<Member | undefined> => {
  const { carrying, viewer } = watching;
  const { signal } = carrying.exchange;
  const found: { member?: Member } = {};
  const listener = ownListener(watching, (flow) => {
    const member = watching.share?.join(viewer);
    if (member === undefined) return !viewer.isBlocked;
    found.member = member;
    flow?.stop();
    member.feed();
    return true;
  });
  await ask(asked("records", request), { reach: carrying.reach, signal, ...times }, listener);
  return found.member;
};

/** Agents of serai answer at once, in plain too. */
const prompt = (carrying: Carrying): Times => ({
  deadlineMs: deadlineMsOf(carrying),
  silenceMs: carrying.limits.followSilenceMs,
});

const firstRequest = ({ exchange, reach }: Carrying): AgentRequest =>
  agentRequest(exchange, reach.node);

const goOn = (watching: Watching): Promise<Member | undefined> => {
  const { viewer, carrying } = watching;
  const { stand } = viewer;
  const request = stand === undefined ? firstRequest(carrying) : viewer.requestAt(stand);
  return own(watching, request, prompt(carrying));
};

/** Where others share a follow already it may be enough to know where this one would begin. */
const begun = async (watching: Watching): Promise<Member | undefined> => {
  const { carrying, terms, viewer } = watching;
  const { reach, exchange, shares } = carrying;
  const request = firstRequest(carrying);
  if (shares.open(viewer) === undefined) return own(watching, request, terms);
  const { signal } = exchange;
  const listener = ownListener(watching, () => true);
  await ask(asked("place", request), { reach, signal, ...terms }, listener);
  if (!viewer.isBegun) return undefined; // answered in another way
  const member = watching.share?.join(viewer);
  member?.feed();
  return member ?? goOn(watching);
};

const leave = (watching: Watching): void => {
  watching.share?.remove(watching.viewer);
  watching.share = undefined;
};

/** By turns alone and as a member, to the log's end; `other` takes what an agent answers that knows no records. */
export const watch = (
  carrying: Carrying,
  terms: StreamTerms,
  other: () => Listener,
): Promise<void> =>
  orCut(carrying, async () => {
    const viewer = new Viewer(carrying);
    const watching: Watching = { carrying, terms, viewer, other, share: undefined };
    try {
      let member = await begun(watching);
      while (member !== undefined && (await member.parting) === "alone")
        member = await goOn(watching);
      if (viewer.isBegun) viewer.end();
    } finally {
      leave(watching);
    }
    await handedOver(carrying, terms);
  });
