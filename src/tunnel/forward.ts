/**
 * Joins each connection that comes through a tunnel with one to the agent beside this process, and with nothing else. What
 * is reset on one side is reset on the other, never ended.
 */
import { connect, type OnReadOpts, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { pipeline } from "node:stream/promises";
import { errnoOf } from "../errors.ts";
import type { Log } from "../ports.ts";
import type { Incoming } from "./serve.ts";

export interface ForwardOptions {
  readonly nodeId: string;
  readonly address: { readonly host: string; readonly port: number };
  readonly connectTimeoutMs: number;
  readonly maxConnections: number;
}

/** What is read of the agent at once. */
const pieceBytes = 128 * 1024;

/** Passes on what the agent sends, in one buffer that is used again when it has been written: a long file leaves no garbage. */
const passing = (connection: Duplex, resume: () => void): OnReadOpts => ({
  buffer: Buffer.allocUnsafeSlow(pieceBytes),
  callback: (bytes, buffer) => {
    connection.write(buffer.subarray(0, bytes), resume);
    return false; // until it has been written
  },
});

/** Half-closed sides are kept; the first that breaks off breaks the other. */
const join = (connection: Duplex, socket: Socket): void => {
  const reset = (): void => {
    if (!connection.readableEnded || !connection.writableFinished) socket.resetAndDestroy();
  };
  for (const broken of ["aborted", "error", "close"]) connection.once(broken, reset); // before `pipeline` hears it, which only closes
  socket.once("end", () => connection.end());
  socket.once("close", () => {
    if (!socket.readableEnded) connection.destroy(new Error("the agent broke off"));
  });
  // whichever breaks has destroyed both, so how it ended is told to both sides already
  pipeline(connection, socket).catch(() => undefined);
};

/** Takes what `serveTunnel` gives. */
export const createForward = (
  { log }: { readonly log: Log },
  { nodeId, address, connectTimeoutMs, maxConnections }: ForwardOptions,
): ((incoming: Incoming) => void) => {
  let open = 0;
  let told: string | undefined;
  const tell = (reason: string | undefined): void => {
    if (reason !== undefined && reason !== told)
      log.warn({ node: nodeId, ...address, reason }, "the agent gives no connection");
    told = reason;
  };

  return (incoming) => {
    if (open >= maxConnections) {
      tell(`${maxConnections} connections are open`);
      return incoming.refuse(503);
    }
    open += 1;
    const { connection } = incoming;
    const socket = connect({
      ...address,
      noDelay: true,
      allowHalfOpen: true,
      onread: passing(connection, () => socket.resume()),
    });
    const giveUp = (): void => void socket.destroy();
    const timer = setTimeout(
      () => socket.destroy(Object.assign(new Error("no answer"), { code: "ETIMEDOUT" })),
      connectTimeoutMs,
    );
    const failed = (error: Error): void => {
      tell(errnoOf(error) ?? error.message);
      incoming.refuse(502);
    };
    connection.once("close", giveUp);
    socket.once("error", failed);
    socket.once("close", () => {
      open -= 1;
      clearTimeout(timer);
    });
    socket.once("connect", () => {
      clearTimeout(timer);
      socket.off("error", failed);
      connection.off("close", giveUp);
      socket.on("error", () => undefined); // `join` hears it too; alone it must not end the process
      tell(undefined);
      join(incoming.take(), socket);
    });
  };
};
