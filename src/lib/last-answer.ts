/** The last answer of a connection, where node:http writes none: an upgrade was asked for, or nothing that could be read. */
import type { Duplex } from "node:stream";
import { STATUS_CODES } from "./node-http.ts";

export type Field = readonly [name: string, value: string];

export const plainText: Field = ["Content-Type", "text/plain; charset=utf-8"];

export const lastAnswer = (
  status: number,
  fields: readonly Field[],
  body: Buffer | string,
): Buffer => {
  const framing: readonly Field[] = [
    ["Content-Length", String(Buffer.byteLength(body))],
    ["Connection", "close"],
  ];
  const lines = [...fields, ...framing].map(([name, value]) => `${name}: ${value}\r\n`).join("");
  const head = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? "Unknown"}\r\n${lines}\r\n`;
  return Buffer.concat([Buffer.from(head, "latin1"), Buffer.from(body)]);
};

/** How long its caller may take to close its half; a close at once could reset what it has not read yet. */
const lingerMs = 1_000;

/** Answers, and lets the connection go. */
export const answerLast = (
  socket: Duplex,
  status: number,
  fields: readonly Field[],
  body: Buffer | string,
): void => {
  if (socket.destroyed) return;
  const linger = setTimeout(() => socket.destroy(), lingerMs);
  socket.once("close", () => clearTimeout(linger));
  socket.resume(); // nothing of it is looked at, but its end is
  socket.end(lastAnswer(status, fields, body));
};
