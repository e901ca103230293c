/** Ports of 127.0.0.1 where nobody listens yet, and that no other process is given while this one lives. */
import { once } from "node:events";
import { createServer, type Server } from "node:net";

/** Below the range that the system takes ports from by itself, so that no connection or listener gets one meanwhile. */
const firstPort = 10_240;
const blockSize = 64;
const blocks = 150;

const listenOn = async (port: number): Promise<Server | undefined> => {
  const server = createServer();
  server.listen(port, "127.0.0.1");
  try {
    await once(server, "listening");
    return server;
  } catch {
    return undefined; // somebody else does
  }
};

const isFree = async (port: number): Promise<boolean> => {
  const server = await listenOn(port);
  if (server === undefined) return false;
  server.close();
  await once(server, "close");
  return true;
};

/** Block after block: who listens on the first port of one, until it ends, hands out the others. */
async function* ports(): AsyncGenerator<number, never> {
  for (;;) {
    const first = firstPort + blockSize * Math.floor(Math.random() * blocks);
    const hold = await listenOn(first);
    if (hold === undefined) continue;
    hold.unref();
    for (let port = first + 1; port < first + blockSize; port++) if (await isFree(port)) yield port;
  }
}

const own = ports();

export const freePort = async (): Promise<number> => (await own.next()).value;
