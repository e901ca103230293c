/** Ways of answering wrongly, for whatever is asked over HTTP: what the caller may see of each is its carriage's to say. */
import type { Heard, Script } from "../support/faulty-agent.ts";

export const ok = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";

export const say =
  (...texts: readonly string[]): Script =>
  ({ socket }: Heard) => {
    for (const text of texts) socket.write(text, "latin1");
  };

export const sayAndEnd =
  (text: string): Script =>
  ({ socket }) =>
    socket.end(text, "latin1");

/** Sends a text, then a reset that cannot overtake it. */
const sayAndReset =
  (text: string): Script =>
  ({ socket }) =>
    socket.write(text, "latin1", () => setImmediate(() => socket.resetAndDestroy()));

export const faults = {
  "it closes without a word": ({ socket }) => socket.end(),
  "it resets without a word": ({ socket }) => socket.resetAndDestroy(),
  "it never answers": () => undefined,
  "it sends half a head and waits": say("HTTP/1.1 200 OK\r\nContent-"),
  "it sends half a head and closes": sayAndEnd("HTTP/1.1 200 OK\r\nContent-"),
  "it sends interim answers and nothing else": ({ socket }) => socket.write("HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 103 Early\r\n\r\n"),
  "it says garbage": sayAndEnd("SSH-2.0-OpenSSH_9.2\r\n\r\n"),
  "status 099": say("HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n"),
  "status 999": say("HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n"),
  "status 1000": say("HTTP/1.1 1000 X\r\nContent-Length: 0\r\n\r\n"),
  "a redirect to another host": say("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"),
  "status 401": say("HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n"),
  "status 304": say("HTTP/1.1 304 X\r\n\r\n"),
  "a 101 to a GET": say("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
  "a reason with control and high bytes": say("HTTP/1.1 200 a\x01\xe9b\r\nContent-Length: 2\r\n\r\nok"),
  "length and chunks at once": say(`${ok}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`),
  "two lengths": say(`${ok}Content-Length: 2\r\nContent-Length: 3\r\n\r\nok!`),
  "a length that is no number": say(`${ok}Content-Length: 2x\r\n\r\nok`),
  "a body shorter than its length": sayAndEnd(`${ok}Content-Length: 10\r\n\r\nok`),
  "a body longer than its length": say(`${ok}Content-Length: 2\r\n\r\nokmore`),
  "204 with a body": say("HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok"),
  "a bad chunk": say(`${ok}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\nxyz\r\n`),
  "a header of 20 KiB": say(`${ok}X-Big: ${"a".repeat(20_480)}\r\nContent-Length: 0\r\n\r\n`),
  "a high byte in a header that is passed on": say("HTTP/1.1 200 OK\r\nContent-Type: a\xe9\r\nContent-Length: 0\r\n\r\n"),
  "a control byte in a header": say("HTTP/1.1 200 OK\r\nContent-Type: a\x01\r\nContent-Length: 0\r\n\r\n"),
  "two answers to one request": say(`${ok}Content-Length: 2\r\n\r\nok${ok}Content-Length: 4\r\n\r\nevil`),
  "a Trailer header and trailers": say(`${ok}Trailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n`),
  "a Trailer header beside a length": say(`${ok}Trailer: X-T\r\nContent-Length: 2\r\n\r\nok`),
  "it closes inside a chunked body": sayAndEnd(`${ok}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n`),
  "it resets inside a body": sayAndReset(`${ok}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n`),
  "it falls silent inside a body": say(`${ok}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n`),
  "a redirect to another host without a scheme": say("HTTP/1.1 302 Found\r\nLocation: /\\evil/\r\nContent-Length: 0\r\n\r\n"),
  "neither a length nor chunks": sayAndEnd(`${ok}\r\nok`),
} as const satisfies Readonly<Record<string, Script>>; // biome-ignore format: a table

export type FaultName = keyof typeof faults;
