/** What the gateway's side of the tunnels tells in figures; every reason is from a closed set. */

/** Why the hub admits no tunnel of a node now. */
export type AdmitRefusal = "draining" | "full" | "two_places";

/** Why a hello was not let in. */
export type HelloRefusal =
  | AdmitRefusal
  | "version"
  | "bad_request"
  | "permission_denied"
  | "identity_unavailable";

/** What ended a tunnel: `lost` is a connection that broke, `agent` one that its agent closed. */
export type TunnelEnd =
  | "agent"
  | "lost"
  | "protocol"
  | "heartbeat"
  | "flood"
  | "replaced"
  | "revoked"
  | "drained";

/** Why a connection through a tunnel was not had: `not_back` waited for a tunnel, `broken` was cut while it opened. */
export type StreamRefusal =
  | "no_tunnel"
  | "not_back"
  | "full"
  | "agent_unreachable"
  | "agent_full"
  | "agent_other"
  | "silent"
  | "broken";

export interface TunnelObserver {
  helloAccepted(): void;
  helloRefused(why: HelloRefusal): void;
  tunnelReconnected(): void;
  tunnelEnded(why: TunnelEnd): void;
  tunnelStreamOpened(): void;
  tunnelStreamRefused(why: StreamRefusal): void;
  tunnelBeat(roundTripMs: number): void;
}

const nothing = (): void => undefined;

export const silentObserver: TunnelObserver = {
  helloAccepted: nothing,
  helloRefused: nothing,
  tunnelReconnected: nothing,
  tunnelEnded: nothing,
  tunnelStreamOpened: nothing,
  tunnelStreamRefused: nothing,
  tunnelBeat: nothing,
};
