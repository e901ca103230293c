/** A raw TCP request: exact bytes out, everything that comes back in. */
import net from "node:net";

export interface RawAnswer {
  readonly text: string;
  readonly status: number | undefined;
  /** How the peer ended it; "open" when it was still open at the deadline. */
  readonly end: "fin" | "reset" | "open";
}

const statusOf = (text: string): number | undefined => {
  const match = /^HTTP\/1\.[01] (\d{3})/.exec(text);
  return match ? Number(match[1]) : undefined;
};

/** Sends bytes and reads until the peer closes, or until `waitMs` of silence. */
export const sendRaw = (port: number, bytes: string | Buffer, waitMs = 500): Promise<RawAnswer> =>
  new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1");
    const chunks: Buffer[] = [];
    let timer = setTimeout(() => finish("open"), waitMs * 4);
    const finish = (end: RawAnswer["end"]): void => {
      clearTimeout(timer);
      socket.destroy();
      const text = Buffer.concat(chunks).toString("latin1");
      resolve({ text, status: statusOf(text), end });
    };
    socket.on("connect", () => socket.write(bytes));
    socket.on("data", (chunk) => {
      chunks.push(chunk);
      clearTimeout(timer);
      timer = setTimeout(() => finish("open"), waitMs);
    });
    socket.on("end", () => finish("fin"));
    socket.on("error", () => finish("reset"));
  });
