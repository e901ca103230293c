/**
 * A node's tunnel before its address: whatever is open is used, and a tunnel that gives no connection costs one try. The
 * exchange has sent nothing until there is one.
 */
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { buildConnector } from "undici";
import type { GatewayError } from "../errors.ts";
import {
  type Connector,
  type Peer,
  type TlsOptions,
  tlsOptions,
  unreachable,
} from "./connector.ts";

/** The tunnels as far as reaching needs them; `src/tunnel/hub.ts` is one. */
export interface Tunnels {
  isOpen(nodeId: string): boolean;
  open(
    nodeId: string,
    opened: (error: GatewayError | null, connection: Duplex | null) => void,
  ): () => void;
}

export interface TunnelledNeeds {
  readonly tunnels: Tunnels;
  readonly nodeId: string;
  readonly peer: Peer;
  /** The way past the tunnel; undefined when the node has none. */
  readonly direct: Connector | undefined;
  readonly tls: TlsOptions | undefined;
}

/** The name in a certificate decides; the address behind a tunnel is nobody's. */
const hostname = "agent";

export const tunnelled = ({ tunnels, nodeId, peer, direct, tls }: TunnelledNeeds): Connector => {
  const secure = peer.tls ? buildConnector({ allowH2: false, ...tlsOptions(tls) }) : undefined;

  const through: Connector["connect"] = (callback) =>
    tunnels.open(nodeId, (error, connection) => {
      if (connection === null) return callback(unreachable(error, peer), null);
      // undici and ws take any duplex stream; their types know sockets alone
      const raw = connection as Socket;
      if (secure === undefined) return callback(null, raw);
      secure(
        { hostname, host: hostname, protocol: "https:", port: "443", httpSocket: raw },
        (fault, secured) => {
          if (secured) callback(null, secured);
          else callback(unreachable(fault, peer), null);
        },
      );
    });

  return {
    connect(callback) {
      if (direct === undefined) return through(callback);
      if (!tunnels.isOpen(nodeId)) return direct.connect(callback);
      let isOver = false;
      let giveUp = through((_error, socket) => {
        if (isOver) socket?.destroy();
        else if (socket) callback(null, socket);
        else giveUp = direct.connect(callback);
      });
      return () => {
        isOver = true;
        giveUp();
      };
    },
  };
};
