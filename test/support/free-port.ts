/** A port of 127.0.0.1 where nobody listens yet. */
import { once } from "node:events";
import { createServer } from "node:net";

/** Below the range that the system takes ports from by itself, so that no connection or listener gets it meanwhile. */
const firstPort = 10_240;
const lastPort = 19_999;

export const freePort = async (): Promise<number> => {
  for (;;) {
    const port = firstPort + Math.floor(Math.random() * (lastPort - firstPort));
    const server = createServer();
    server.listen(port, "127.0.0.1");
    const isFree = await Promise.race([
      once(server, "listening").then(() => true),
      once(server, "error").then(() => false),
    ]).catch(() => false);
    if (!isFree) continue;
    server.close();
    await once(server, "close");
    return port;
  }
};
