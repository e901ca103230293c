/** Which ways there are to a node, which one is taken, and why the others are not: one clause each. Pure. */
import type { TunnelStatus } from "../tunnel/hub.ts";
import type { Fared, Fault } from "./trail.ts";

/** In the order in which they are tried. */
export type WayName = "tunnel" | "direct" | "server";

export interface WayReport {
  readonly way: WayName;
  /** `absent`: the node has no such way. `blocked`: it is not tried now. `open`: it is tried, the first of them before the others. */
  readonly state: "open" | "blocked" | "absent";
  /** Why, as a clause that names the way. */
  readonly words: string;
  /** `host:port`; for those who may read nodes. */
  readonly address?: string | undefined;
  readonly fared: Fared;
}

const unit = (ms: number): string => {
  if (ms < 60_000) return `${Math.floor(ms / 1_000)} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min`;
  return `${Math.floor(ms / 3_600_000)} h`;
};
const ago = (ms: number): string => (ms < 1_000 ? "just now" : `${unit(ms)} ago`);

/** `connection refused (dial, 3 s ago)`; what has just happened needs no age. */
const faultWords = ({ reason, step, agoMs }: Fault): string =>
  `${reason} (${agoMs < 1_000 ? step : `${step}, ${ago(agoMs)}`})`;

/** The last fault when nothing went well after it. */
const standing = ({ fault, connectedAgoMs, answeredAgoMs }: Fared): Fault | undefined => {
  if (fault === undefined) return undefined;
  const well = fault.step === "HTTP" ? answeredAgoMs : connectedAgoMs;
  return well !== undefined && well <= fault.agoMs ? undefined : fault;
};

const faredWords = (fared: Fared): string => {
  const fault = standing(fared);
  if (fault) return faultWords(fault);
  if (fared.answeredAgoMs !== undefined) return `answered ${ago(fared.answeredAgoMs)}`;
  if (fared.connectedAgoMs !== undefined) return `connected ${ago(fared.connectedAgoMs)}`;
  return "not tried yet";
};

/** A node's tunnel as it is now. */
export interface TunnelNow {
  readonly status: TunnelStatus | undefined;
  /** It takes another connection. */
  readonly isOpen: boolean;
  /** The node has no address to be dialled at. */
  readonly isOnly: boolean;
}

export const tunnelReport = ({ status, isOpen, isOnly }: TunnelNow, fared: Fared): WayReport => {
  const way = "tunnel";
  if (status === undefined)
    return {
      way,
      state: isOnly ? "blocked" : "absent",
      words: isOnly
        ? "its tunnel is not open: its agent has not dialled this gateway"
        : "no tunnel has come from its agent",
      fared,
    };
  if (status.state === "ended")
    return {
      way,
      state: "blocked",
      words: `its tunnel ended ${ago(status.agoMs)}: ${status.reason}`,
      fared,
    };
  const since = `its tunnel has been open for ${unit(status.forMs)}`;
  if (!isOpen) {
    const words = `${since}, with as many connections as may go through it (${status.streams})`;
    return { way, state: "blocked", words, fared };
  }
  return { way, state: "open", words: `${since}: ${faredWords(fared)}`, fared };
};

/** What keeps a node from being dialled. */
export interface Obstacles {
  /** The address policy's words. */
  readonly refused: string | undefined;
  /** True while its circuit lets nobody try. */
  readonly isOpenCircuit: boolean;
}

/** `address` is undefined for a node that only dials out, "" for one that told none. */
export const directReport = (
  address: string | undefined,
  { refused, isOpenCircuit }: Obstacles,
  fared: Fared,
): WayReport => {
  const way = "direct";
  if (address === undefined || address === "") {
    const words = address === "" ? "it has no address" : "it has no address, it dials out";
    return { way, state: "absent", words, fared };
  }
  if (refused !== undefined)
    return { way, state: "blocked", words: `its address: ${refused}`, address, fared };
  const pause = isOpenCircuit ? ", tried again in some seconds" : "";
  const state = isOpenCircuit ? "blocked" : "open";
  return { way, state, words: `its address: ${faredWords(fared)}${pause}`, address, fared };
};

export const serverReport = (fared: Fared): WayReport => ({
  way: "server",
  state: "open",
  words: `a Nomad server: ${faredWords(fared)}`,
  fared,
});

/** The way that the next request takes. */
export const usedOf = (ways: readonly WayReport[]): WayReport | undefined =>
  ways.find(({ state }) => state === "open");

/** All ways that a node has, in one sentence; of one that has none, why it has none. */
export const sentenceOf = (ways: readonly WayReport[]): string => {
  const there = ways.filter(({ state }) => state !== "absent");
  return (there.length > 0 ? there : ways).map(({ words }) => words).join("; ");
};
