/** The recorded answers of a real Nomad 2.0.5: cases by file, their whole bodies. `golden/` is data, never edited. */
import { readFileSync } from "node:fs";
import { parseJson, prettyJson } from "../../src/lib/json.ts";
import { rebuilt } from "./rebuilt.ts";

export type HeaderPair = readonly [string, string];

/** A chunk that was kept whole, or cut in the middle: then `rebuilt` makes it whole again. */
export interface Chunk {
  readonly t: number;
  readonly data?: string;
  readonly data_b64?: string;
  readonly bytes?: number;
  readonly sha256?: string;
  readonly head?: string;
  readonly tail?: string;
}

export interface RecordedFrame {
  readonly t: number;
  /** ">" to Nomad, "<" from it. */
  readonly dir: ">" | "<";
  readonly op: "text" | "binary" | "close" | "ping" | "pong";
  readonly payload?: string;
  readonly payload_b64?: string;
  readonly code?: number;
  readonly reason?: string;
}

export interface RecordedRequest {
  readonly method: string;
  /** Absent of a request that is kept raw. */
  readonly path?: string;
  readonly query?: string;
  readonly headers?: readonly HeaderPair[];
  readonly body?: string;
  readonly body_b64?: string;
  readonly raw?: string;
}

export interface RecordedResponse {
  readonly status?: number | null;
  readonly headers?: readonly HeaderPair[];
  readonly body?: string;
  readonly body_b64?: string;
  readonly body_same_as?: { readonly name: string; readonly via: Via; readonly as: string };
  readonly chunks?: readonly Chunk[];
  readonly http?: string;
  readonly end?: string;
  readonly end_ms?: number;
  readonly raw?: string;
}

export type Via = "server" | "agent" | "other-agent";

export interface Case {
  readonly file: FileName;
  readonly name: string;
  readonly via: Via;
  readonly request: RecordedRequest;
  readonly response: RecordedResponse;
  readonly frames?: readonly RecordedFrame[];
  readonly note?: string;
}

export const fileNames = [
  "fs",
  "streams",
  "exec",
  "allocation-actions",
  "node-client",
  "servers",
  "companions",
  "transport",
  "node-down",
] as const;
export type FileName = (typeof fileNames)[number];

const read = (name: string): string =>
  readFileSync(new URL(`golden/${name}.json`, import.meta.url), "utf8");

/** A fixture: its form is that of the type. */
const load = (file: FileName): readonly Case[] => {
  const cases: readonly Omit<Case, "file">[] = JSON.parse(read(file));
  return cases.map((one) => ({ ...one, file }));
};

export const corpus: ReadonlyMap<FileName, readonly Case[]> = new Map(
  fileNames.map((file) => [file, load(file)]),
);

export interface CliRequest {
  readonly to: "NOMAD_ADDR" | "node";
  readonly method: string;
  readonly target: string;
  readonly headers: readonly HeaderPair[];
  readonly body?: string;
  readonly status: number;
}

export interface CliCommand {
  readonly command: string;
  readonly token: string;
  readonly requests: readonly CliRequest[];
}

/** What Nomad's command line asked, command by command. */
export const cliCommands = (): readonly CliCommand[] => {
  const { commands }: { readonly commands: readonly CliCommand[] } = JSON.parse(
    read("cli-requests"),
  );
  return commands;
};

const named = (file: FileName, name: string, via: Via): Case => {
  const found = corpus.get(file)?.find((one) => one.name === name && one.via === via);
  if (found === undefined) throw new RangeError(`no case ${file}: ${name} (${via})`);
  return found;
};

const isPretty = ({ request }: Case): boolean => /(^|&)pretty(&|$|=)/.test(request.query ?? "");

const chunkBytes = (chunk: Chunk): Buffer | undefined => {
  if (chunk.data !== undefined) return Buffer.from(chunk.data);
  if (chunk.data_b64 !== undefined) return Buffer.from(chunk.data_b64, "base64");
  return rebuilt(chunk);
};

const bodies = new Map<Case, Buffer | undefined>();

/** The whole body; undefined when the corpus does not hold it. */
export const bodyOf = (one: Case): Buffer | undefined => {
  if (!bodies.has(one)) bodies.set(one, wholeBody(one));
  return bodies.get(one);
};

const wholeBody = (one: Case): Buffer | undefined => {
  const { body, body_b64, body_same_as, chunks } = one.response;
  if (body !== undefined) return Buffer.from(body);
  if (body_b64 !== undefined) return Buffer.from(body_b64, "base64");
  if (body_same_as !== undefined) {
    const same = bodyOf(named(one.file, body_same_as.name, body_same_as.via));
    return same && isPretty(one) ? Buffer.from(prettyJson(parseJson(same.toString()))) : same;
  }
  if (chunks?.length === 0 && Number(headerOf(one.response.headers ?? [], "content-length")) > 0)
    return undefined;
  const parts = (chunks ?? []).map(chunkBytes);
  return parts.every((part) => part !== undefined) ? Buffer.concat(parts) : undefined;
};

/** The path asked for, also of a request that is kept raw. */
export const pathOf = ({ request }: Case): string =>
  request.path ?? /^\S+ (?:http:\/\/[^/]+)?([^ ?]*)/.exec(request.raw ?? "")?.[1] ?? "";

export const headerOf = (headers: readonly HeaderPair[], name: string): string | undefined =>
  headers.find(([one]) => one.toLowerCase() === name)?.[1];
