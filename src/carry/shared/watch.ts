/**
 * A viewer of a followed log, from its first byte to its last: by a follow of its own until the shared one has all that is
 * still to come, then from that one's ring; when it is too slow for the ring, by itself again from the byte where it stands.
 */
import { GatewayError } from "../../errors.ts";
import { ask, type Flow, type Listener, type Terms } from "../ask.ts";
import { type Carrying, deadlineMsOf } from "../carriage.ts";
import { type AgentRequest, agentRequest } from "../request.ts";
import { handedOver, orCut, type StreamTerms, sendHead } from "../stream.ts";
import { type Member, overtaken } from "./member.ts";
import { asked, checkGoesOn, isInRecords, recordBody } from "./records.ts";
import type { Share } from "./share.ts";
import { isTurnOver, untilTurn } from "./turn.ts";
import { Viewer } from "./viewer.ts";

/** One viewer on its way. */
interface Watching {
  readonly carrying: Carrying;
  readonly terms: StreamTerms;
  readonly viewer: Viewer;
  /** Takes an answer that is not in records. */
  readonly other: () => Listener;
  share: Share | undefined;
  /** Of the share, when this one last had all that it told. */
  doubts: number;
  /** Ends the heartbeats of the time in which nothing brings it its bytes. */
  stopBeats: () => void;
}

/**
 * How it goes on: as a member, or from where it stands `alone`, or so `later` when it has let others have its connection;
 * undefined at the log's end.
 */
type Next = Member | "alone" | "later" | undefined;

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
  watching.doubts = watching.share.doubts;
};

const notGoneOn = (node: string, status: number): GatewayError =>
  new GatewayError("upstream_broke", {
    node,
    reason: `the log cannot be gone on with where the viewer stood: it answered ${status}`,
  });

/** A file was truncated or deleted since. */
const isInDoubt = ({ share, doubts }: Watching): boolean =>
  share !== undefined && share.doubts !== doubts;

/** What others see of the log meanwhile says whether it can go on where it stood. */
const givesWay = (watching: Watching, sinceMs: number): boolean =>
  watching.share?.isOpen === true && !isInDoubt(watching) && isTurnOver(watching.viewer, sinceMs);

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
        if (resumedAt !== undefined && isInDoubt(watching)) throw overtaken();
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
      watching.stopBeats();
      viewer.source = given;
      return "follows";
    },
    data: (chunk, done, payload) => taker.data(chunk, done, payload),
    end: () => taker.end(),
  };
};

type Times = Pick<Terms, "deadlineMs" | "deadlineFrom" | "silenceMs">;

/** Follows by itself, for as long as it is its turn. */
const own = async (watching: Watching, request: AgentRequest, times: Times): Promise<Next> => {
  const { carrying, viewer } = watching;
  const { signal } = carrying.exchange;
  const found: { next?: Next } = {};
  const isStill = viewer.isBlocked;
  let sinceMs: number | undefined;
  const listener = ownListener(watching, (flow) => {
    sinceMs ??= isStill ? Number.NEGATIVE_INFINITY : performance.now();
    const member = watching.share?.join(viewer);
    if (member === undefined && !givesWay(watching, sinceMs)) return !viewer.isBlocked;
    found.next = member ?? "later";
    flow?.stop();
    member?.feed();
    return true;
  });
  await ask(asked("records", request), { reach: carrying.reach, signal, ...times }, listener);
  return found.next;
};

/** Agents of serai answer at once, in plain too; that others hold all connections to one is no fault of its. */
const prompt = (carrying: Carrying): Times => ({
  deadlineMs: deadlineMsOf(carrying),
  deadlineFrom: "sending",
  silenceMs: carrying.limits.followSilenceMs,
});

const firstRequest = ({ exchange, reach }: Carrying): AgentRequest =>
  agentRequest(exchange, reach.node);

/** Alone from where it stands, when it is its turn. */
const goOn = async (watching: Watching, when: "alone" | "later"): Promise<Next> => {
  const { viewer, carrying } = watching;
  const { stand } = viewer;
  await untilTurn(viewer, when);
  const request = stand === undefined ? firstRequest(carrying) : viewer.requestAt(stand);
  watching.stopBeats = watching.share?.beats(viewer) ?? (() => undefined);
  try {
    return await own(watching, request, prompt(carrying));
  } finally {
    watching.stopBeats();
  }
};

/** Where others share a follow already it may be enough to know where this one would begin. */
const begun = async (watching: Watching): Promise<Next> => {
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
  return member ?? "alone";
};

/** What a member does next. It has had all that it was told of: what it missed was looked at. */
const parted = async (watching: Watching, member: Member): Promise<Next> => {
  const parting = await member.parting;
  watching.doubts = watching.share?.doubts ?? 0;
  return parting === "alone" ? "alone" : undefined;
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
    const stopBeats = (): void => undefined;
    const watching = { carrying, terms, viewer, other, share: undefined, doubts: 0, stopBeats };
    try {
      let next = await begun(watching);
      while (next !== undefined)
        next = typeof next === "string" ? await goOn(watching, next) : await parted(watching, next);
      if (viewer.isBegun) viewer.end();
    } finally {
      leave(watching);
    }
    await handedOver(carrying, terms);
  });
