/** A process that stands still, as one that was stopped and goes on; and a line on which something comes meanwhile. */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/** This process hears nothing meanwhile. Behind an immediate, timers are the first that come after it. */
export const standStill = (ms: number): void => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
};

export interface Pair extends Disposable {
  readonly near: Socket;
  /** What is written here is with the system at once. */
  readonly far: Socket;
}

export const socketPair = async (): Promise<Pair> => {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const near = connect((server.address() as AddressInfo).port, "127.0.0.1"); // a TCP server's address is one
  const [far]: Socket[] = await once(server, "connection");
  server.close();
  if (far === undefined) throw new Error("nobody connected");
  return {
    near,
    far,
    [Symbol.dispose]() {
      near.destroy();
      far.destroy();
    },
  };
};
