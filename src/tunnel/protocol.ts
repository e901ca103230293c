/** The names and bounds of the tunnel's protocol (docs/tunnel.md), the same on both sides. */
import { constants, type SessionOptions } from "node:http2";

export const tunnelPath = "/v1/serai/tunnel";
/** Protocol and version of the upgrade. */
export const tunnelProtocol = "serai-tunnel/1";
export const nodeHeader = "x-serai-node";
/** The one place that a stream leads to: the agent behind the tunnel. */
export const agentAuthority = "agent";

const kib = 1024;
const mib = 1024 * kib;

/** Bytes a stream may be ahead of its reader; a stopped reader costs no more. */
export const streamWindow = mib;
/** Bytes all streams together may be ahead: no stream waits for another's reader. */
export const sessionWindow = 64 * mib;
/** As many as an agent of ours admits on its own listener: no fewer than the gateway has for it (reach/node-ways.ts). */
export const maxStreams = 4_096;

/** A DATA frame of fewer bytes is hardly worth its head. */
export const tinyBytes = 16;

/** Both sides send a heartbeat this often, whether or not the one before it was answered. */
export const heartbeatMs = 5_000;
/** No byte from the other side for this time ends the tunnel. */
export const heartbeatTimeoutMs = 10_000;
/** The same while the line takes nothing of what is written: 64 KiB of a stream may take it 16 s at 4 KiB/s. */
export const stuckTimeoutMs = 18_000;
/** An agent's SETTINGS follow the 101 at once: a round trip, or a packet that had to be sent again. */
export const settingsTimeoutMs = 2_000;
/** As many heartbeats may be on their way: on a slow line they stand behind what was written before. */
const maxHeartbeats = 1_000;

/**
 * Without end: node goes on counting what waited for a stream that the other side has reset (28 KB each of downloads that
 * were left, node 24.21), and refuses all streams at the bound. What a session holds is bounded by streams, credit and heads.
 */
const sessionMegabytes = 1_000_000;

/**
 * Streams a second that the other side may reset: each caller that leaves a download or a follow makes the gateway do so, and
 * nghttp2's own 33 would end the tunnel of all for them.
 */
const maxResets = 10_000;

/** For either side's session: small heads, no pushes, and a peer that misbehaves is soon cut by nghttp2 itself. */
export const sessionOptions = {
  settings: {
    enablePush: false,
    initialWindowSize: streamWindow,
    maxConcurrentStreams: maxStreams,
    maxHeaderListSize: 8 * kib,
    headerTableSize: 4 * kib,
  },
  maxDeflateDynamicTableSize: 4 * kib,
  maxHeaderListPairs: 32,
  maxOutstandingPings: maxHeartbeats,
  maxSendHeaderBlockLength: 8 * kib,
  maxSessionInvalidFrames: 32,
  maxSessionMemory: sessionMegabytes,
  maxSettings: 16,
  peerMaxConcurrentStreams: maxStreams,
  streamResetBurst: maxResets,
  streamResetRate: maxResets,
} as const satisfies SessionOptions & {
  readonly maxSettings: number;
  readonly maxSessionInvalidFrames: number;
  readonly streamResetBurst: number;
  readonly streamResetRate: number;
};

const { HTTP2_HEADER_METHOD, HTTP2_HEADER_AUTHORITY, HTTP2_METHOD_CONNECT } = constants;

export const connectHeaders = {
  [HTTP2_HEADER_METHOD]: HTTP2_METHOD_CONNECT,
  [HTTP2_HEADER_AUTHORITY]: agentAuthority,
} as const;

/** What an agent with no listener of its own is announced at: a name that no resolver knows, so that nobody dials it. */
export const tunnelAddress = (nodeId: string): string => `${nodeId}.tunnel.invalid:4646`;
const tunnelName = /^([0-9a-f-]{36})\.tunnel\.invalid(?::\d+)?$/;
/** The node behind such an address, with or without its port; undefined for any other. */
export const nodeOfTunnelAddress = (address: string): string | undefined =>
  tunnelName.exec(address)?.[1];
