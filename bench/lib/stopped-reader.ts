/** A reader that stops. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";

/** Asks for a large file and reads no more than the head of the answer. Ended by who asked. */
export const stopReading = async (url: string, token: string): Promise<Socket> => {
  const { hostname, port, pathname, search } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port) });
  socket.on("error", () => socket.destroy());
  socket.write(
    `GET ${pathname}${search} HTTP/1.1\r\nHost: bench\r\nX-Nomad-Token: ${token}\r\n\r\n`,
  );
  const [head] = await once(socket, "data");
  socket.pause();
  if (!String(head).startsWith("HTTP/1.1 200")) throw new Error(`no file: ${head}`);
  return socket;
};
