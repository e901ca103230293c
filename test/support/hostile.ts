/** What hostile callers do to a gateway, with a seed so that a finding can be had again, and bounded in number. */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { routes } from "../../src/routes.ts";

export type Random = () => number;

/** mulberry32: 0 to below 1. */
export const seeded = (seed: number): Random => {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
};

const below = (random: Random, bound: number): number => Math.floor(random() * bound);
const pick = <T>(random: Random, from: readonly [T, ...T[]]): T =>
  from[below(random, from.length)] ?? from[0];

const noise = (random: Random, most: number): string =>
  String.fromCharCode(...Array.from({ length: below(random, most) }, () => below(random, 256)));

const paths: readonly [string, ...string[]] = ["/", ...routes.map(({ path }) => path)];

const target = (random: Random, id: string): string => {
  const path = pick(random, paths).replace(/[:*]id/, () =>
    pick(random, [id, id.toUpperCase(), "", "../..", "%00", "%2e%2e", noise(random, 40)]),
  );
  const query = pick(random, ["", "?", "?path=/", "?task=main&type=stdout", "?index=1&wait=1ms"]);
  const more = pick(random, [
    "",
    "",
    `&${noise(random, 30)}=${noise(random, 30)}`,
    "&path=a&path=b",
  ]);
  return pick(random, [path, path, path, noise(random, 200)]) + query + more;
};

const headers: readonly [string, ...string[]] = [
  "Host: gate", "Host: gate", "Connection: close", "Connection: upgrade", "Upgrade: websocket", "Upgrade: h2c", "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Content-Length: 5", "Content-Length: -1", "Transfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked",
  "Expect: 100-continue", "Trailer: X", "TE: trailers", "Content-Encoding: gzip", "Range: bytes=0-1", "Origin: null", "X-Forwarded-For: ::::", "__proto__: x", "constructor: x",
]; // biome-ignore format: a list

/** A masked or unmasked frame, mostly wrong. */
const frame = (random: Random): Buffer =>
  Buffer.from([
    below(random, 256),
    below(random, 256),
    ...Array.from({ length: below(random, 20) }, () => below(random, 256)),
  ]);

/** A request that the parser takes, and whose target is the riddle. */
const properHead = (random: Random, id: string, token: string): string => {
  const method = pick(random, ["GET", "GET", "GET", "PUT", "POST", "HEAD", "DELETE"]);
  const at = encodeURI(target(random, id)).replaceAll("%25", "%");
  const sent = pick(random, [token, token, token, "11111111-2222-4333-8444-555555555555", "none"]);
  const length = method === "PUT" || method === "POST" ? "Content-Length: 2\r\n" : "";
  return `${method} ${at} HTTP/1.1\r\nHost: gate\r\nX-Nomad-Token: ${sent}\r\n${length}\r\n${length === "" ? "" : "{}"}`;
};

const brokenHead = (random: Random, id: string, token: string): string => {
  const method = pick(random, ["GET", "GET", "PUT", "POST", "HEAD", "BREW", noise(random, 8)]);
  const version = pick(random, ["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", noise(random, 6)]);
  const lines = Array.from({ length: below(random, 8) }, () => pick(random, headers));
  if (random() < 0.7) lines.push("Host: gate");
  if (random() < 0.3) lines.push(`X-Nomad-Token: ${pick(random, [token, noise(random, 60)])}`);
  if (random() < 0.2) lines.push(`${noise(random, 12)}: ${noise(random, 60)}`);
  return `${method} ${target(random, id)} ${version}\r\n${lines.join("\r\n")}\r\n\r\n`;
};

/** The bytes of one request with whatever comes after it. */
export const hostileBytes = (random: Random, id: string, token: string): Buffer => {
  const head = (random() < 0.5 ? properHead : brokenHead)(random, id, token);
  const body = pick(random, [
    "",
    "hello",
    "0\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    noise(random, 200),
  ]);
  return Buffer.concat([Buffer.from(head, "latin1"), Buffer.from(body, "latin1"), frame(random)]);
};

export const upgradeBytes = (id: string, token: string): string =>
  `GET /v1/client/allocation/${id}/exec?task=main&command=${encodeURIComponent('["sleep","60"]')} HTTP/1.1\r\nHost: gate\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Nomad-Token: ${token}\r\n\r\n`;

/** Writes, waits for the first answer or `waitMs`, and tears the connection down. */
export const sendAndTear = async (
  port: number,
  bytes: Buffer | string,
  waitMs: number,
  waitsForAnswer: boolean,
): Promise<void> => {
  const socket: Socket = connect(port, "127.0.0.1");
  socket.on("error", () => undefined);
  socket.write(bytes);
  const closed = once(socket, "close");
  const timer = setTimeout(() => socket.resetAndDestroy(), waitMs);
  if (waitsForAnswer) socket.once("data", () => socket.resetAndDestroy());
  else socket.resume();
  await closed;
  clearTimeout(timer);
};

/** Runs `work` `count` times, `width` at once. */
export const times = async (
  count: number,
  width: number,
  work: (nth: number) => Promise<void>,
): Promise<void> => {
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let nth = next++; nth < count; nth = next++) await work(nth);
  };
  await Promise.all(Array.from({ length: width }, worker));
};
