/** TLS to one node: each connection takes up the session of the one before it. */
import type { Duplex } from "node:stream";
import { type ConnectionOptions, connect, type TLSSocket } from "node:tls";

/** `over`: a connection that is there already. */
export type Secure = (over?: Duplex) => TLSSocket;

export const createSecure = (options: ConnectionOptions): Secure => {
  let session: Buffer | undefined;
  return (over) => {
    const socket = connect({
      ...options,
      ALPNProtocols: ["http/1.1"],
      ...(session && { session }),
      ...(over && { socket: over }),
    });
    return socket.on("session", (next) => {
      session = next;
    });
  };
};
