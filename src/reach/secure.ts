/** TLS to one node: each connection takes up the session of the one before it, unless certificates have changed since. */
import type { Duplex } from "node:stream";
import { type ConnectionOptions, connect, type TLSSocket } from "node:tls";

/** `over`: a connection that is there already. */
export type Secure = (over?: Duplex) => TLSSocket;

/** A session goes on with what either side has shown, and trusted, when it began. */
interface Kept {
  readonly session: Buffer;
  readonly options: ConnectionOptions;
}

const isOf = ({ options }: Kept, { ca, cert }: ConnectionOptions): boolean =>
  options.ca === ca && options.cert === cert;

/** `current` is asked before each connection. */
export const createSecure = (current: () => ConnectionOptions): Secure => {
  let kept: Kept | undefined;
  return (over) => {
    const options = current();
    const socket = connect({
      ...options,
      ALPNProtocols: ["http/1.1"],
      ...(kept && isOf(kept, options) && { session: kept.session }),
      ...(over && { socket: over }),
    });
    return socket.on("session", (session) => {
      kept = { session, options };
    });
  };
};
