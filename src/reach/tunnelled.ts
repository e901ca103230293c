/**
 * A node's tunnel before its address: whatever is open is used, and a tunnel that gives no connection costs one try. The
 * exchange has sent nothing until there is one.
 */
import type { Socket } from "node:net";
import { GatewayError } from "../errors.ts";
import type { Hub } from "../tunnel/hub.ts";
import {
  type Connector,
  feed,
  type Peer,
  type TlsOptions,
  timedOut,
  tlsOptions,
  unreachable,
  whenConnected,
} from "./connector.ts";
import { isFull } from "./reasons.ts";
import { createSecure } from "./secure.ts";
import type { Step, Trail } from "./trail.ts";

/** The tunnels as far as reaching needs them. */
export type Tunnels = Pick<Hub, "isOpen" | "isExpected" | "open" | "status" | "onLeaving">;

export interface TunnelledNeeds {
  readonly tunnels: Pick<Tunnels, "isOpen" | "isExpected" | "open">;
  readonly nodeId: string;
  readonly peer: Peer;
  /** The way past the tunnel; undefined when the node has none. */
  readonly direct: Connector | undefined;
  /** True when there is no third way: a node that cannot be dialled is waited for when its tunnel is expected back. */
  readonly waits: boolean;
  readonly tls: TlsOptions | undefined;
  /** Told of each connection through the tunnel, and of each failure. */
  readonly trail?: Trail | undefined;
}

/** The name in a certificate decides; the address behind a tunnel is nobody's. */
const servername = "agent";
const handshakeTimeoutMs = 10_000;

/** The second way when the first gives no connection. */
const inTurn = (
  first: Connector["connect"],
  second: Connector["connect"],
): Connector["connect"] => {
  return (callback, intake) => {
    let isOver = false;
    let giveUp = first((_error, socket) => {
      if (isOver) socket?.destroy();
      else if (socket) callback(null, socket);
      else giveUp = second(callback, intake);
    }, intake);
    return () => {
      isOver = true;
      giveUp();
    };
  };
};

export const tunnelled = (needs: TunnelledNeeds): Connector => {
  const { tunnels, nodeId, peer, direct, waits, tls, trail } = needs;
  const secure = peer.tls ? createSecure(() => ({ servername, ...tlsOptions(tls) })) : undefined;

  const through: Connector["connect"] = (callback, intake) => {
    let isGivenUp = false;
    const failed = (step: Step, error: unknown): void => {
      if (isGivenUp) return; // that is no fault of the tunnel
      const refusal = isFull(error)
        ? new GatewayError("overloaded", { ...peer.named, ...error.facts })
        : unreachable(error, peer);
      trail?.failed(step, refusal.facts.reason ?? refusal.words);
      callback(refusal, null);
    };
    const connected = (socket: Socket): void => {
      trail?.connected();
      if (intake) feed(socket, intake);
      callback(null, socket);
    };
    const giveUp = tunnels.open(nodeId, (error, connection) => {
      if (connection === null) return failed("dial", error);
      // undici and ws take any duplex stream; their types know sockets alone
      const raw = connection as Socket;
      if (secure === undefined) return connected(raw);
      const handshake = secure(raw);
      const timer = setTimeout(() => handshake.destroy(timedOut()), handshakeTimeoutMs);
      whenConnected(handshake, "secureConnect", (fault, secured) => {
        clearTimeout(timer);
        if (secured) connected(secured);
        else failed("TLS", fault);
      });
    });
    return () => {
      isGivenUp = true;
      giveUp();
    };
  };

  return {
    connect(callback, intake) {
      if (direct === undefined) return through(callback, intake);
      if (tunnels.isOpen(nodeId)) return inTurn(through, direct.connect)(callback, intake);
      if (waits && tunnels.isExpected(nodeId))
        return inTurn(direct.connect, through)(callback, intake);
      return direct.connect(callback, intake);
    },
  };
};
