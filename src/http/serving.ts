/** How a listener begins and ends. */
import type { AddressInfo, Server } from "node:net";

/** node:http's and node:https' servers. */
interface HttpServer extends Server {
  closeIdleConnections(): void;
  closeAllConnections(): void;
}

/** Listens on TCP; rejects with the system's error (`EADDRINUSE`, ...). The address is the one that was bound. */
export const listenOn = (server: Server, host: string, port: number): Promise<AddressInfo> =>
  new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      const address = server.address();
      if (address === null || typeof address === "string") reject(new Error("no TCP address"));
      else resolve(address);
    });
  });

/** How often a closing server looks for connections that have become idle. */
const idleSweepMs = 50;

/** Stops accepting; resolves when the last connection has ended. When the signal aborts, `cut` ends them. */
export const closeServer = async (
  server: HttpServer,
  signal: AbortSignal,
  cut: () => void = () => server.closeAllConnections(),
): Promise<void> => {
  const closed = new Promise<void>((resolve) => void server.close(() => resolve()));
  // a connection whose answer ends only now is idle only now
  const sweep = setInterval(() => server.closeIdleConnections(), idleSweepMs);
  if (signal.aborted) cut();
  else signal.addEventListener("abort", cut, { once: true });
  await closed;
  clearInterval(sweep);
  signal.removeEventListener("abort", cut);
};
