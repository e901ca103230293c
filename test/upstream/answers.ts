/** Answers of agents for the parser's tests: proper ones, and the ways in which they go wrong. */
import fc from "fast-check";

const crlf = "\r\n";

/** A place in a text, as a share of it: anywhere, where fast-check's own numbers keep to the ends. */
const place = fc.nat(9_999).map((nth) => ((nth * 7_919) % 10_000) / 10_000);

const token = fc.stringMatching(/^[A-Za-z][A-Za-z0-9-]{0,11}$/);
const value = fc.stringMatching(/^[\x21-\x7e](?:[\x20-\x7e]{0,20}[\x21-\x7e])?$/);
const body = fc.string({ maxLength: 60, unit: "binary-ascii" });

const field = fc
  .tuple(token, value, fc.constantFrom("", " ", "\t ", "  "))
  .filter(
    ([name]) => !/^(?:content-length|transfer-encoding|connection|upgrade|trailer)$/i.test(name),
  )
  .map(([name, text, blank]) => `${name}:${blank}${text}${crlf}`);

const chunked = fc
  .tuple(
    fc.array(
      body.filter((text) => text !== ""),
      { maxLength: 4 },
    ),
    fc.array(field, { maxLength: 1 }),
  )
  .map(
    ([chunks, trailers]) =>
      chunks.map((text) => text.length.toString(16) + crlf + text + crlf).join("") +
      `0${crlf}${trailers.join("")}${crlf}`,
  );

/** Proper in every way. */
export const proper = fc
  .tuple(
    fc.constantFrom(200, 204, 304, 400, 403, 404, 500),
    fc.constantFrom("", " ", " OK", " Not so \xe9"),
    fc.array(field, { maxLength: 4 }),
    fc.oneof(
      body.map((text) => `Content-Length: ${text.length}${crlf}${crlf}${text}`),
      chunked.map((text) => `Transfer-Encoding: chunked${crlf}${crlf}${text}`),
    ),
    fc.constantFrom(0, 0, 0, 1, 2),
  )
  .map(([status, reason, fields, rest, interim]) => {
    const early = `HTTP/1.1 103 Early Hints${crlf}Link: x${crlf}${crlf}`.repeat(interim);
    const isBare = status === 204 || status === 304;
    return `${early}HTTP/1.1 ${status}${reason}${crlf}${fields.join("")}${isBare ? crlf : rest}`;
  });

const scrap = fc.constantFrom(
  "\r", "\n", crlf, "\0", " ", "\t", ":", ";", "0", "00", "-1", "+5", "0x5", "f", "ffffffffffffffff", "Content-Length: 5\r\n",
  "Content-Length: 3, 3\r\n", "Transfer-Encoding: chunked\r\n", "Transfer-Encoding: identity\r\n", "transfer-encoding: gzip, chunked\r\n",
  "Transfer-Encoding : chunked\r\n", " folded\r\n", "X: a\r b\r\n", "HTTP/1.1 200 OK\r\n", ";ext=1", "\x80", "\x01", "0\r\n\r\n",
); // biome-ignore format: rows

/** A proper answer in which some places were cut out, put in, or said twice. */
export const mangled = fc
  .tuple(
    proper,
    fc.array(fc.tuple(place, fc.nat(6), scrap), {
      minLength: 1,
      maxLength: 3,
    }),
  )
  .map(([text, edits]) => {
    let result = text;
    for (const [share, cut, piece] of edits) {
      const at = Math.floor(share * result.length);
      result = result.slice(0, at) + piece + result.slice(at + cut);
    }
    return result;
  });

const anyByte = fc.nat(255).map((byte) => String.fromCharCode(byte));
const headPiece = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom("A", "b", "-", "1", ":", ": ", " ", "\t", crlf, `${crlf}A:`, `${crlf}__proto__: x`, `${crlf}A: b`) },
  { weight: 1, arbitrary: anyByte },
); // biome-ignore format: rows

/** Short texts that are a head, or nearly: every byte comes in every place of a line. */
export const headish = fc
  .tuple(
    fc.constantFrom("HTTP/1.1 200", "HTTP/1.1 200 OK", "HTTP/1.1 204 ", "HTTP/1.1 20", "HTTP/1.1 099"),
    fc.array(headPiece, { maxLength: 8 }),
    fc.constantFrom("", `${crlf}Content-Length: 0`),
  )
  .map(([first, pieces, last]) => first + pieces.join("") + last); // biome-ignore format: rows

/** Where the bytes of an answer are cut into reads. */
export const cuts = fc.array(place, { maxLength: 6 });

export const piecesOf = (bytes: Buffer, shares: readonly number[]): readonly Buffer[] => {
  const places = [...new Set(shares.map((share) => Math.floor(share * bytes.length)))];
  const edges = [0, ...places.toSorted((a, b) => a - b), bytes.length];
  return edges
    .slice(1)
    .map((to, at) => bytes.subarray(edges[at], to))
    .filter(({ length }) => length > 0);
};
