/** Dynamic ports in Nomad's range. */
import { createServer } from "node:net";

const first = 20_000;
const count = 12_000;
const maxTries = 200;

/** Whether nobody listens there now. */
export const isFree = (address: string, port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ host: address, port, exclusive: true }, () =>
      server.close(() => resolve(true)),
    );
  });

/** A port that is free and not in `taken`. Throws when none is found. */
export const freePort = async (
  address: string,
  taken: ReadonlySet<number>,
  random: () => number,
): Promise<number> => {
  for (let attempt = 0; attempt < maxTries; attempt++) {
    const port = first + Math.floor(random() * count);
    if (!taken.has(port) && (await isFree(address, port))) return port;
  }
  throw new Error(`no free port found on ${address} between ${first} and ${first + count - 1}`);
};
