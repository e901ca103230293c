/** A Nomad server among the peers: what a caller pays for the same requests without serai, its own agent behind it. */
import { mkdirSync } from "node:fs";
import path from "node:path";
import { openCluster, writeBlocks } from "./nomad-setting.ts";

/** A gate and what may be asked through it. */
export interface Behind {
  readonly token: string;
  readonly allocation: string;
  /** A directory with nothing but `bulk.bin` and `path.bin`. */
  readonly directory: string;
  /** Of `bulk.bin`. */
  readonly hash: string;
}

export interface NomadPeer extends AsyncDisposable {
  readonly name: "nomad";
  readonly origin: string;
  /** The server. */
  readonly pid: number;
  readonly behind: Behind;
}

export const openNomadPeer = async (bulkBytes: number, pathBytes: number): Promise<NomadPeer> => {
  await using stack = new AsyncDisposableStack();
  const { server, token, allocations, data } = stack.use(await openCluster(1));
  const files = path.join(data, "bench");
  mkdirSync(files);
  const hash = await writeBlocks(path.join(files, "bulk.bin"), bulkBytes);
  await writeBlocks(path.join(files, "path.bin"), pathBytes);
  const running = stack.move();
  return {
    name: "nomad",
    origin: server.origin,
    pid: server.pid,
    behind: { token, allocation: allocations[0] ?? "", directory: "/alloc/data/bench", hash },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
};
