/** One file as Nomad describes it (nomad-http.md §8.1): Go's mode string, Go's time, names as Go prints them. */
import { isUtf8 } from "node:buffer";
import { type BigIntStats, constants as flags } from "node:fs";

/** Field order is the wire's. */
export interface FileInfo {
  readonly Name: string;
  readonly IsDir: boolean;
  readonly Size: bigint;
  readonly FileMode: string;
  readonly ModTime: string;
  readonly ContentType: string;
}

const setuid = 0o4000;
const setgid = 0o2000;
const sticky = 0o1000;

const typeLetters: ReadonlyMap<number, string> = new Map([
  [flags.S_IFDIR, "d"],
  [flags.S_IFLNK, "L"],
  [flags.S_IFBLK, "D"],
  [flags.S_IFIFO, "p"],
  [flags.S_IFSOCK, "S"],
  [flags.S_IFCHR, "D"],
  [flags.S_IFREG, ""],
]);

/** Go's `os.FileMode.String`: letters of the type and of setuid, setgid, sticky, then the permissions. */
export const goMode = (mode: number): string => {
  const type = mode & flags.S_IFMT;
  const letters = [
    typeLetters.get(type) ?? "?",
    mode & setuid ? "u" : "",
    mode & setgid ? "g" : "",
    type === flags.S_IFCHR ? "c" : "",
    mode & sticky ? "t" : "",
  ].join("");
  const permissions = [..."rwxrwxrwx"].map((letter, at) => (mode & (0o400 >> at) ? letter : "-"));
  return (letters || "-") + permissions.join("");
};

const second = 1_000_000_000n;

const digits = (value: number, width: number): string => String(value).padStart(width, "0");

const offsetOf = (minutesWest: number): string => {
  if (minutesWest === 0) return "Z";
  const minutes = Math.abs(minutesWest);
  const sign = minutesWest < 0 ? "+" : "-";
  return `${sign}${digits(Math.floor(minutes / 60), 2)}:${digits(minutes % 60, 2)}`;
};

/** Go's RFC 3339 with nanoseconds in the machine's zone: trailing zeros of the fraction are left out. */
export const goTime = (ns: bigint): string => {
  const fraction = ((ns % second) + second) % second;
  const date = new Date(Number((ns - fraction) / 1_000_000n));
  const day = `${digits(date.getFullYear(), 4)}-${digits(date.getMonth() + 1, 2)}-${digits(date.getDate(), 2)}`;
  const time = [date.getHours(), date.getMinutes(), date.getSeconds()].map((part) =>
    digits(part, 2),
  );
  const nanoseconds = String(fraction).padStart(9, "0").replace(/0+$/, "");
  const part = nanoseconds === "" ? "" : `.${nanoseconds}`;
  return `${day}T${time.join(":")}${part}${offsetOf(date.getTimezoneOffset())}`;
};

const continuationBytes = (lead: number): number => {
  if (lead >= 0xc2 && lead <= 0xdf) return 1;
  if (lead >= 0xe0 && lead <= 0xef) return 2;
  return lead >= 0xf0 && lead <= 0xf4 ? 3 : 0;
};

/** A name as text: each byte that is no UTF-8 becomes U+FFFD, one for one as in Go. */
export const goName = (bytes: Buffer): string => {
  if (isUtf8(bytes)) return bytes.toString();
  let text = "";
  for (let at = 0; at < bytes.length; ) {
    const length = 1 + continuationBytes(bytes[at] ?? 0);
    const rune = bytes.subarray(at, at + length);
    const sound = rune.length === length && isUtf8(rune);
    text += sound ? rune.toString() : "\ufffd";
    at += sound ? length : 1;
  }
  return text;
};

export const toFileInfo = (name: string, stats: BigIntStats, contentType: string): FileInfo => ({
  Name: name,
  IsDir: stats.isDirectory(),
  Size: stats.size,
  FileMode: goMode(Number(stats.mode)),
  ModTime: goTime(stats.mtimeNs),
  ContentType: contentType,
});
