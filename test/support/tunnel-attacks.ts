/** What an agent can do to a gateway with frames alone; each is cut. */
import {
  continuation,
  data,
  errors,
  flags,
  frame,
  goaway,
  headers,
  hpack,
  many,
  newest,
  padded,
  ping,
  priority,
  reset,
  settingIds,
  settings,
  settingsAck,
  types,
  windowUpdate,
} from "./frames.ts";

/** Sent again and again, without a stream. */
export interface Flood {
  readonly name: string;
  /** Noticed a little later than at once, as others are: with the long tests alone. */
  readonly isLong?: boolean;
  readonly bytes: Buffer;
}

/** Sent again and again in a stream that the gateway has opened, after `begin`. */
export interface StreamFlood {
  readonly name: string;
  readonly isLong?: boolean;
  readonly begin: (stream: number) => readonly Buffer[];
  readonly bytes: (stream: number) => Buffer;
}

const extension = (type: number, length: number): Buffer => frame(type, 0, 0, Buffer.alloc(length));
const origin = Buffer.from("\0\x10https://a.example", "latin1");
const altsvc = Buffer.from('\0\x09a.exampleh2=":1"', "latin1");
const request = Buffer.from([0x82]); // :method GET
const manySettings = settings(
  Object.fromEntries(Array.from({ length: 100 }, (_, nth) => [16 + nth, 1])),
);

// biome-ignore format: a table
export const floods: readonly Flood[] = [
  { name: "PING", bytes: many(ping()) },
  { name: "answers to no PING", bytes: many(ping(Buffer.alloc(8), flags.ack)) },
  { name: "SETTINGS", bytes: many(settings()) },
  { name: "SETTINGS that change the windows", isLong: true, bytes: many(settings({ [settingIds.initialWindowSize]: 1 })) },
  { name: "SETTINGS of a hundred entries", isLong: true, bytes: many(manySettings, 256) },
  { name: "acknowledged SETTINGS", isLong: true, bytes: many(settingsAck) },
  { name: "WINDOW_UPDATE", bytes: many(windowUpdate(0, 1)) },
  { name: "PRIORITY", bytes: many(priority(1, 0)) },
  { name: "RST_STREAM of idle streams", isLong: true, bytes: many(reset(1, errors.none)) },
  { name: "GOAWAY", bytes: many(goaway(0x7fffffff)) },
  { name: "ORIGIN", isLong: true, bytes: many(frame(types.origin, 0, 0, origin)) },
  { name: "ALTSVC", isLong: true, bytes: many(frame(types.altsvc, 0, 0, altsvc)) },
  { name: "empty frames of an unknown type", isLong: true, bytes: many(extension(0xfa, 0)) },
  { name: "large frames of an unknown type", isLong: true, bytes: many(extension(0xfa, 16_384), 16) },
  { name: "PUSH_PROMISE", bytes: many(frame(types.push, flags.endHeaders, 1, Buffer.concat([Buffer.from([0, 0, 0, 2]), request]))) },
  { name: "empty DATA of an idle stream", bytes: many(data(1, Buffer.alloc(0))) },
  { name: "streams of its own", bytes: many(headers(2, request, flags.endHeaders | flags.endStream)) },
  { name: "CONTINUATION without end", bytes: Buffer.concat([headers(2, request, 0), many(continuation(2, request))]) },
];

// biome-ignore format: a table
export const faults: readonly Flood[] = [
  { name: "garbage instead of SETTINGS", bytes: Buffer.from("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello") },
  { name: "a frame said to be larger than may be", bytes: frame(types.data, 0, 1, Buffer.alloc(0), 2 ** 24 - 1) },
  { name: "a frame that is larger than may be", bytes: frame(types.data, 0, 1, Buffer.alloc(20_000)) },
  { name: "a CONNECT", bytes: headers(2, hpack.connect("agent")) },
  { name: "a CONNECT to another place", bytes: headers(2, hpack.connect("127.0.0.1:22")) },
  { name: "a CONNECT in a stream of the gateway's", bytes: headers(99, hpack.connect("agent")) },
  { name: "an answer to no stream", bytes: headers(99, hpack.status200) },
  { name: "an answer on stream 0", bytes: headers(0, hpack.status200) },
  { name: "DATA on stream 0", bytes: data(0, Buffer.alloc(1)) },
  { name: "a window beyond 2^31", bytes: many(windowUpdate(0, 0x7fffffff), 2) },
  { name: "a window update of nothing", bytes: windowUpdate(0, 0) },
  { name: "an initial window beyond 2^31", bytes: settings({ [settingIds.initialWindowSize]: 0x80000000 }) },
  { name: "a frame size of 1", bytes: settings({ [settingIds.maxFrameSize]: 1 }) },
  { name: "pushes switched on", bytes: settings({ [settingIds.enablePush]: 1 }) },
  { name: "SETTINGS of five bytes", bytes: frame(types.settings, 0, 0, Buffer.alloc(5)) },
  { name: "SETTINGS of a stream", bytes: frame(types.settings, 0, 1) },
  { name: "a PING of seven bytes", bytes: ping(Buffer.alloc(7)) },
  { name: "a PING of a stream", bytes: frame(types.ping, 0, 1, Buffer.alloc(8)) },
  { name: "a GOAWAY of a stream", bytes: frame(types.goaway, 0, 1, Buffer.alloc(8)) },
  { name: "a reset of stream 0", bytes: reset(0) },
  { name: "a CONTINUATION of nothing", bytes: continuation(1, hpack.status200, flags.endHeaders) },
];

const nothing = (): readonly Buffer[] => [];
const taken = (stream: number): readonly Buffer[] => [headers(stream, hpack.status200)];
const body = Buffer.from("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
const begun = (stream: number): readonly Buffer[] => [...taken(stream), data(stream, body)];
const ended = (stream: number): readonly Buffer[] => [
  ...taken(stream),
  data(stream, Buffer.alloc(0), flags.endStream),
];
const byte = Buffer.from("x");
const kilobyte = hpack.plain("a", "b".repeat(1_000));
/** 8,000 times 4 KB in 12 KB. */
const bomb = Buffer.concat([
  hpack.kept("a", "b".repeat(4_000)),
  many(hpack.indexed(newest), 8_000),
]);
/** A value that is said to have many megabytes. */
const endless = Buffer.concat([
  Buffer.from([0, 1, 97, 0x7f, 0xff, 0xff, 0xff, 0x03]),
  Buffer.alloc(16_000, 98),
]);

// biome-ignore format: a table
export const streamFloods: readonly StreamFlood[] = [
  { name: "RST_STREAM", isLong: true, begin: taken, bytes: (id) => many(reset(id)) },
  { name: "empty DATA", begin: taken, bytes: (id) => many(data(id, Buffer.alloc(0))) },
  { name: "empty padded DATA", isLong: true, begin: taken, bytes: (id) => many(padded(id, Buffer.alloc(0), 255)) },
  { name: "an answer in DATA of one byte", begin: begun, bytes: (id) => many(data(id, byte)) },
  { name: "an answer in padded DATA of one byte", isLong: true, begin: begun, bytes: (id) => many(padded(id, byte, 255)) },
  { name: "DATA that is no HTTP, byte by byte", isLong: true, begin: taken, bytes: (id) => many(data(id, byte)) },
  { name: "padding longer than its frame", begin: taken, bytes: (id) => frame(types.data, flags.padded, id, Buffer.from([255, 1])) },
  { name: "DATA before its answer", begin: nothing, bytes: (id) => many(data(id, byte)) },
  { name: "DATA behind its end", begin: ended, bytes: (id) => many(data(id, byte)) },
  { name: "DATA beyond the window", begin: taken, bytes: (id) => many(data(id, Buffer.alloc(16_384)), 16) },
  { name: "a window that overflows", begin: taken, bytes: (id) => many(windowUpdate(id, 0x7fffffff)) },
  { name: "window updates of nothing, to be reset", begin: taken, bytes: (id) => many(windowUpdate(id, 0)) },
  { name: "PRIORITY on itself, to be reset", isLong: true, begin: taken, bytes: (id) => many(priority(id, id)) },
  { name: "informational answers", begin: nothing, bytes: (id) => many(headers(id, hpack.plain(":status", "103"))) },
  { name: "trailers without end", isLong: true, begin: taken, bytes: (id) => many(headers(id, hpack.plain("a", "b"))) },
  { name: "trailers", begin: taken, bytes: (id) => many(headers(id, hpack.plain("a", "b"), flags.endHeaders | flags.endStream)) },
  { name: "a giant answer", isLong: true, begin: nothing, bytes: (id) => headers(id, Buffer.concat([hpack.status200, many(kilobyte, 12)])) },
  { name: "an answer in CONTINUATION without end", begin: (id) => [headers(id, hpack.status200, 0)], bytes: (id) => many(continuation(id, many(kilobyte, 12)), 8) },
  { name: "an HPACK bomb", begin: nothing, bytes: (id) => headers(id, Buffer.concat([hpack.status200, bomb])) },
  { name: "HPACK bombs in informational answers", isLong: true, begin: nothing, bytes: (id) => headers(id, Buffer.concat([hpack.plain(":status", "103"), bomb])) },
  { name: "a literal of many megabytes", begin: (id) => [headers(id, Buffer.concat([hpack.status200, endless]), 0)], bytes: (id) => many(continuation(id, Buffer.alloc(16_000, 98)), 8) },
  { name: "HPACK table sizes", isLong: true, begin: nothing, bytes: (id) => headers(id, Buffer.concat([many(hpack.tableSize(0), 8_000), hpack.status200])) },
  { name: "an HPACK table larger than may be", begin: nothing, bytes: (id) => headers(id, Buffer.concat([hpack.tableSize(2 ** 20), hpack.status200])) },
  { name: "an HPACK index of nothing", isLong: true, begin: nothing, bytes: (id) => headers(id, hpack.indexed(100)) },
  { name: "field names in capitals", begin: nothing, bytes: (id) => headers(id, Buffer.concat([hpack.status200, hpack.plain("A", "b")])) },
];
