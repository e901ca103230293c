/** Callers that cost the measured processes nothing: h2load and curl, each a process of its own, in C. */
import { spawn } from "node:child_process";
import { once } from "node:events";

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
}

/** So many requests over kept connections of HTTP/1.1, the URLs in turn. Rejects unless each one was answered with 2xx. */
export const load = async ({ urls, token, connections, requests }: Load): Promise<void> => {
  const said = await run("h2load", [
    "--h1",
    ...["-n", String(requests), "-c", String(connections), "-t", "1"],
    ...["-H", tokenHeader(token), ...urls],
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
