/** Callers that cost the measured processes nothing: h2load and curl, each a process of its own, in C. */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createReadStream, readFileSync } from "node:fs";
import path from "node:path";
import { pipeline } from "node:stream/promises";
import { memoryDirectory } from "./tidy.ts";

/** Programs they are, and their Debian packages. */
export const drivers = { h2load: "nghttp2-client", curl: "curl", sha256sum: "coreutils" };

const patienceMs = 120_000;

/** What a program prints; rejects with its words when it fails. */
const run = async (program: string, argv: readonly string[]): Promise<string> => {
  const child = spawn(program, argv, {
    stdio: ["ignore", "pipe", "pipe"],
    timeout: patienceMs,
    killSignal: "SIGKILL",
  });
  let [said, failed] = ["", ""];
  child.stdout.on("data", (chunk: Buffer) => {
    said += chunk.toString();
  });
  child.stderr.on("data", (chunk: Buffer) => {
    failed += chunk.toString();
  });
  const [code] = await once(child, "close");
  if (code !== 0) throw new Error(`${program} ended with ${code}: ${failed}${said}`);
  return said;
};

const tokenHeader = (token: string): string => `X-Nomad-Token: ${token}`;

export interface Load {
  readonly urls: readonly string[];
  readonly token: string;
  readonly connections: number;
  readonly requests: number;
  /** Of each connection, which are opened within as long; undefined: one after the other. */
  readonly perSecond?: number;
}

const paceOf = (connections: number, perSecond: number): readonly string[] => [
  ...["--rps", String(perSecond)],
  ...["-r", String(Math.ceil((connections * perSecond) / 40)), "--rate-period", "25ms"],
];

/** So many requests over kept connections of HTTP/1.1, the URLs in turn. Rejects unless each one was answered with 2xx. */
export const load = async (
  { urls, token, connections, requests, perSecond }: Load,
  more: readonly string[] = [],
): Promise<void> => {
  const pace = perSecond === undefined ? [] : paceOf(connections, perSecond);
  const said = await run("h2load", [
    "--h1",
    ...["-n", String(requests), "-c", String(connections), "-t", "1"],
    ...["-H", tokenHeader(token), ...pace, ...more, ...urls],
  ]);
  const good = Number(/status codes: (\d+) 2xx/.exec(said)?.[1]);
  if (good !== requests)
    throw new Error(`${requests - (good || 0)} of ${requests} failed at ${urls[0]}:\n${said}`);
};

/** Downloads it all; the SHA-256 of what came. */
export const downloadHash = async (url: string, token: string): Promise<string> => {
  const script = 'curl -sS -H "$1" "$2" | sha256sum';
  const said = await run("/bin/sh", ["-c", script, "sh", tokenHeader(token), url]);
  return said.split(" ")[0] ?? "";
};

/** A file in memory, for what comes. */
const scratch = (): Disposable & { readonly file: string } => {
  const directory = memoryDirectory();
  return {
    file: path.join(directory.path, "came"),
    [Symbol.dispose]: () => directory[Symbol.dispose](),
  };
};

/** The same load; how long each request took, in milliseconds, in order of length. */
export const latencies = async (given: Load): Promise<readonly number[]> => {
  using place = scratch();
  await load(given, ["--log-file", place.file]);
  return readFileSync(place.file, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => Number(line.split("\t")[2]) / 1_000)
    .toSorted((a, b) => a - b);
};

/** `work` gets a function that downloads into a file; rejects unless what came then has that SHA-256. */
export const downloaded = async <T>(
  { url, token, hash }: { readonly url: string; readonly token: string; readonly hash: string },
  work: (download: () => Promise<void>) => Promise<T>,
): Promise<T> => {
  using place = scratch();
  const result = await work(async () => {
    await run("curl", ["-sS", "-H", tokenHeader(token), "-o", place.file, url]);
  });
  const came = createHash("sha256");
  await pipeline(createReadStream(place.file), came);
  if (came.digest("hex") !== hash) throw new Error(`other bytes came from ${url}`);
  return result;
};
