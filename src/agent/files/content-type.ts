/**
 * Go's `http.DetectContentType` (the WHATWG sniffing table as Go keeps it): what `stat` shows and what `cat` declares.
 * Pure; looks at the first 512 bytes at most. The order of the table decides.
 */

/** How many bytes of a file's beginning are looked at. */
export const sniffBytes = 512;

interface Signature {
  readonly type: string;
  readonly pattern: Buffer;
  /** A zero byte in the mask accepts any byte; absent: the pattern itself. */
  readonly mask?: Buffer;
  readonly skipBlanks?: boolean;
}

const raw = (text: string): Buffer => Buffer.from(text, "latin1");
const exact = (text: string, type: string): Signature => ({ type, pattern: raw(text) });
const masked = (mask: string, text: string, type: string): Signature => ({
  type,
  pattern: raw(text),
  mask: raw(mask),
});

const container = "\xff\xff\xff\xff\0\0\0\0\xff\xff\xff\xff";

const htmlTags: readonly Buffer[] = [
  "<!DOCTYPE HTML", "<HTML", "<HEAD", "<SCRIPT", "<IFRAME", "<H1", "<DIV", "<FONT", "<TABLE", "<A", "<STYLE",
  "<TITLE", "<B", "<BODY", "<BR", "<P", "<!--",
].map(raw); // biome-ignore format: a table

// biome-ignore format: a table
const beforeMp4: readonly Signature[] = [
  { type: "text/xml; charset=utf-8", pattern: raw("<?xml"), skipBlanks: true },
  exact("%PDF-", "application/pdf"),
  exact("%!PS-Adobe-", "application/postscript"),
  masked("\xff\xff\0\0", "\xfe\xff\0\0", "text/plain; charset=utf-16be"),
  masked("\xff\xff\0\0", "\xff\xfe\0\0", "text/plain; charset=utf-16le"),
  masked("\xff\xff\xff\0", "\xef\xbb\xbf\0", "text/plain; charset=utf-8"),
  exact("\0\0\x01\0", "image/x-icon"),
  exact("\0\0\x02\0", "image/x-icon"),
  exact("BM", "image/bmp"),
  exact("GIF87a", "image/gif"),
  exact("GIF89a", "image/gif"),
  masked(`${container}\xff\xff`, "RIFF\0\0\0\0WEBPVP", "image/webp"),
  exact("\x89PNG\r\n\x1a\n", "image/png"),
  exact("\xff\xd8\xff", "image/jpeg"),
  masked(container, "FORM\0\0\0\0AIFF", "audio/aiff"),
  exact("ID3", "audio/mpeg"),
  exact("OggS\0", "application/ogg"),
  exact("MThd\0\0\0\x06", "audio/midi"),
  masked(container, "RIFF\0\0\0\0AVI ", "video/avi"),
  masked(container, "RIFF\0\0\0\0WAVE", "audio/wave"),
];

// biome-ignore format: a table
const afterMp4: readonly Signature[] = [
  exact("\x1a\x45\xdf\xa3", "video/webm"),
  masked(`${"\0".repeat(34)}\xff\xff`, `${"\0".repeat(34)}LP`, "application/vnd.ms-fontobject"),
  exact("\0\x01\0\0", "font/ttf"),
  exact("OTTO", "font/otf"),
  exact("ttcf", "font/collection"),
  exact("wOFF", "font/woff"),
  exact("wOF2", "font/woff2"),
  exact("\x1f\x8b\x08", "application/x-gzip"),
  exact("PK\x03\x04", "application/zip"),
  exact("Rar!\x1a\x07\0", "application/x-rar-compressed"),
  exact("Rar!\x1a\x07\x01\0", "application/x-rar-compressed"),
  exact("\0asm", "application/wasm"),
];

const blanks: ReadonlySet<number> = new Set([0x09, 0x0a, 0x0c, 0x0d, 0x20]);

const withoutBlanks = (bytes: Buffer): Buffer => {
  let at = 0;
  while (at < bytes.length && blanks.has(bytes[at] ?? 0)) at++;
  return bytes.subarray(at);
};

/** A tag in any case, closed by a blank or `>`. */
const startsWithTag = (bytes: Buffer, tag: Buffer): boolean => {
  if (bytes.length <= tag.length) return false;
  for (const [at, expected] of tag.entries()) {
    const isLetter = expected >= 0x41 && expected <= 0x5a;
    const byte = bytes[at] ?? 0;
    if ((isLetter ? byte & 0xdf : byte) !== expected) return false;
  }
  const end = bytes[tag.length];
  return end === 0x20 || end === 0x3e;
};

const fits = (
  bytes: Buffer,
  trimmed: Buffer,
  { pattern, mask, skipBlanks }: Signature,
): boolean => {
  const subject = skipBlanks ? trimmed : bytes;
  if (subject.length < pattern.length) return false;
  return pattern.every((expected, at) => ((subject[at] ?? 0) & (mask?.[at] ?? 0xff)) === expected);
};

/** An ISO media file whose brands name MP4; the version behind the major brand does not count. */
const isMp4 = (bytes: Buffer): boolean => {
  if (bytes.length < 12) return false;
  const size = bytes.readUInt32BE(0);
  if (bytes.length < size || size % 4 !== 0) return false;
  if (bytes.toString("latin1", 4, 8) !== "ftyp") return false;
  for (let at = 8; at < size; at += 4)
    if (at !== 12 && bytes.toString("latin1", at, at + 3) === "mp4") return true;
  return false;
};

const isBinary = (byte: number): boolean =>
  byte <= 0x08 || byte === 0x0b || (byte >= 0x0e && byte <= 0x1a) || (byte >= 0x1c && byte <= 0x1f);

/** The type of a file that begins with these bytes; never throws. */
export const detectContentType = (beginning: Buffer): string => {
  const bytes = beginning.subarray(0, sniffBytes);
  const trimmed = withoutBlanks(bytes);
  if (htmlTags.some((tag) => startsWithTag(trimmed, tag))) return "text/html; charset=utf-8";
  const early = beforeMp4.find((signature) => fits(bytes, trimmed, signature));
  if (early) return early.type;
  if (isMp4(bytes)) return "video/mp4";
  const late = afterMp4.find((signature) => fits(bytes, trimmed, signature));
  if (late) return late.type;
  return trimmed.some(isBinary) ? "application/octet-stream" : "text/plain; charset=utf-8";
};

const activeTypes: ReadonlySet<string> = new Set(["text/html", "text/xml"]);

/** The type a file's content is answered with: what a browser would run is plain text. */
export const servedContentType = (beginning: Buffer): string => {
  const type = detectContentType(beginning);
  return activeTypes.has(type.split(";", 1)[0] ?? "") ? "text/plain" : type;
};
