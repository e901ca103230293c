/** Recorded answers of a Nomad agent, asked again of the handlers. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import {
  type Allocation,
  ask,
  type FileServer,
  recordedAllocation,
  serveFiles,
} from "./support.ts";

interface Recorded {
  readonly name: string;
  readonly route: string;
  readonly method: string;
  readonly query: string;
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly body_b64?: string;
}

const isRecorded = (value: unknown): value is Recorded =>
  typeof value === "object" && value !== null && "route" in value && "status" in value;

const readRecorded = (): readonly Recorded[] => {
  const cases: unknown = JSON.parse(
    readFileSync(new URL("./golden.json", import.meta.url), "utf8"),
  );
  if (!Array.isArray(cases) || !cases.every(isRecorded)) throw new TypeError("golden.json");
  return cases;
};

const recordedDirectory = "/opt/nomad/alloc/307b0057-418f-b6f1-922f-691b03e2fdef";

/** Nomad answers every refused cat and readat with 200; serai's agent gives the status that was meant. */
const intendedStatus: Readonly<Record<string, number>> = {
  "cat: directory": 400,
  "cat: missing file": 400,
  "cat: path absent": 400,
  "cat: dot-dot escape": 400,
  "cat: symlink that leaves the directory": 400,
  "cat: broken symlink": 400,
  "cat: secret file": 500,
  "readat: offset negative": 500,
  "readat: offset absent": 500,
  "readat: offset not a number": 500,
  "readat: limit not a number": 500,
  "readat: path absent": 400,
  "readat: directory": 400,
  "readat: missing file": 400,
  "readat: offset 2^63 overflows": 500,
};

/** Times and the sizes of directories vary; everything else is compared to the byte. */
const masked = (body: string): string =>
  body
    .replaceAll(/("ModTime": ?)"[^"]+"/g, '$1"?"')
    .replaceAll(/("IsDir": ?true,\s*"Size": ?)\d+/g, "$1?");

let allocation: Allocation;
let server: FileServer;

before(async () => {
  allocation = await recordedAllocation();
  server = await serveFiles(allocation);
});

after(async () => {
  await server[Symbol.asyncDispose]();
  await allocation[Symbol.asyncDispose]();
});

const expectedBody = (recorded: Recorded): Buffer =>
  recorded.body_b64 === undefined
    ? Buffer.from((recorded.body ?? "").replaceAll(recordedDirectory, allocation.directory))
    : Buffer.from(recorded.body_b64, "base64");

const comparedHeaders = [
  "content-type",
  "content-security-policy",
  "x-xss-protection",
  "x-content-type-options",
] as const;

for (const recorded of readRecorded())
  test(`as recorded: ${recorded.name}`, async () => {
    const answer = await ask(server, `${recorded.route}?${recorded.query}`, recorded.method);
    const status = intendedStatus[recorded.name] ?? recorded.status;
    assert.equal(answer.status, status, answer.body.toString());
    const expected = expectedBody(recorded);
    if (recorded.body_b64 === undefined)
      assert.equal(masked(answer.body.toString()), masked(expected.toString()));
    else assert.deepEqual(answer.body, expected);
    if (status !== 200) return;
    const headers = Object.fromEntries(
      Object.entries(recorded.headers).map(([name, value]) => [name.toLowerCase(), value]),
    );
    for (const name of comparedHeaders) assert.equal(answer.headers[name], headers[name], name);
    if (recorded.method === "GET" && !recorded.route.match(/ls|stat/))
      assert.equal(answer.headers["content-length"], headers["content-length"], "content-length");
  });
