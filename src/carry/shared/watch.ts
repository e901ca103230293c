/**
 * A viewer of a followed log, from its first byte to its last: by a follow of its own until the shared one has all that is
 * still to come, then from that one's ring; when it is too slow for the ring, by itself again from the byte where it stands.
 */
import { GatewayError } from "../../errors.ts";
import { ask, type Flow, type Listener, type Terms } from "../ask.ts";
import { type Carrying, deadlineMsOf } from "../carriage.ts";
import type { AgentRequest } from "../request.ts";
import { handedOver, orCut, type StreamTerms, sendHead } from "../stream.ts";
import type { Member } from "./member.ts";
import { checkGoesOn, inRecords, isInRecords, recordBody } from "./records.ts";
import type { Share } from "./share.ts";
import type { Shares } from "./shares.ts";
import { Viewer } from "./viewer.ts";

/** One viewer on its way. `viewer` is there once the agent has answered in records. */
interface Watching {
  readonly carrying: Carrying;
  readonly terms: StreamTerms;
  readonly shares: Shares;
  /** Takes an answer that is not in records. */
  readonly other: Listener;
  viewer: Viewer | undefined;
  share: Share | undefined;
}

const begun = (watching: Watching): Viewer => {
  const { carrying, terms, shares } = watching;
  const viewer = new Viewer(carrying);
  viewer.begin(terms.stallMs);
  watching.viewer = viewer;
  watching.share = shares.of(viewer);
  watching.share?.add(viewer);
  return viewer;
};

const notGoneOn = (node: string, status: number): GatewayError =>
  new GatewayError("upstream_broke", {
    node,
    reason: `the log cannot be gone on with where the viewer stood: it answered ${status}`,
  });

/** Takes the viewer's own follow. `joined` is told when a share takes it over; nothing is taken after that. */
const ownListener = (watching: Watching, joined: (member: Member) => void): Listener => {
  const { carrying, terms, other } = watching;
  const node = carrying.reach.node.name;
  let resumedAt = watching.viewer?.stand;
  let flow: Flow | undefined;
  const body = recordBody(
    {
      entry(entry) {
        if (resumedAt !== undefined) checkGoesOn(resumedAt, entry, node);
        resumedAt = undefined;
        watching.viewer?.take(entry, 0);
      },
      beat: () => watching.viewer?.beat(),
      heard() {
        const { viewer, share } = watching;
        const member = viewer && share?.join(viewer);
        if (member === undefined) return !viewer?.isBlocked;
        flow?.stop();
        joined(member);
        return true;
      },
    },
    node,
  );
  return {
    head(status, headers, given) {
      const isRecords = isInRecords(status, headers);
      if (!isRecords && watching.viewer) throw notGoneOn(node, status);
      if (!isRecords) return other.head(status, headers, given);
      flow = given;
      if (watching.viewer === undefined) sendHead(carrying, terms, status, headers);
      const viewer = watching.viewer ?? begun(watching);
      viewer.source = given;
      return "follows";
    },
    data: (chunk, done) => (flow ? body : other).data(chunk, done),
    end: () => (flow ? body : other).end(),
  };
};

/** Follows by itself; the membership for which it stopped, or undefined at the log's end. */
const own = async (
  watching: Watching,
  request: AgentRequest,
  times: Pick<Terms, "deadlineMs" | "silenceMs">,
): Promise<Member | undefined> => {
  const { reach, exchange } = watching.carrying;
  const found: { member?: Member } = {};
  const listener = ownListener(watching, (member) => {
    found.member = member;
    member.feed();
  });
  await ask(inRecords(request), { reach, signal: exchange.signal, ...times }, listener);
  return found.member;
};

/** By turns alone and as a member, to the log's end. */
const toItsEnd = async (watching: Watching): Promise<void> => {
  const { carrying, terms } = watching;
  const resumedTimes = {
    deadlineMs: deadlineMsOf(carrying),
    silenceMs: carrying.limits.followSilenceMs,
  };
  let member = await own(watching, carrying.request, terms);
  while (member !== undefined && (await member.parting) === "alone") {
    const { viewer } = member;
    const { stand } = viewer;
    if (stand === undefined)
      throw new GatewayError("internal", { reason: "a member stands nowhere" });
    member = await own(watching, viewer.requestAt(stand), resumedTimes);
  }
};

/** A way that could not be taken is no refusal any more once the caller has a head: its answer broke. */
const brokenOff = (error: unknown, { carrying, viewer }: Watching): unknown => {
  const isOurs = viewer === undefined || carrying.exchange.signal.aborted;
  if (isOurs || !(error instanceof GatewayError) || !error.retryable) return error;
  const reason = error.facts.reason ?? error.words;
  return new GatewayError(
    "upstream_broke",
    { node: carrying.reach.node.name, reason },
    { cause: error },
  );
};

/** `other` takes what an agent answers that knows no records. */
export const watch = (carrying: Carrying, terms: StreamTerms, other: Listener): Promise<void> =>
  orCut(carrying, async () => {
    const { shares, response } = carrying;
    const watching: Watching = {
      carrying,
      terms,
      shares,
      other,
      viewer: undefined,
      share: undefined,
    };
    try {
      await toItsEnd(watching);
      if (watching.viewer) response.end();
    } catch (error) {
      throw brokenOff(error, watching);
    } finally {
      if (watching.viewer) watching.share?.remove(watching.viewer);
    }
    await handedOver(carrying, terms);
  });
