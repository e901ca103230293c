/** What a reading of the sources alone can show, and a change could silently undo. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { test } from "node:test";

interface Line {
  readonly file: string;
  readonly number: number;
  readonly text: string;
}

const isComment = (text: string): boolean => /^\s*(?:\/\/|\/?\*)/.test(text);

const lines: readonly Line[] = globSync("src/**/*.ts")
  .sort()
  .flatMap((file) =>
    readFileSync(file, "utf8")
      .split("\n")
      .map((text, at) => ({ file, number: at + 1, text }))
      .filter(({ text }) => !isComment(text)),
  );

const found = (pattern: RegExp, from: readonly Line[] = lines): readonly string[] =>
  from
    .filter(({ text }) => pattern.test(text))
    .map(({ file, number, text }) => `${file}:${number}: ${text.trim()}`);

/* ---- streams ---- */

test("nothing is piped by hand", () => {
  assert.deepEqual(found(/\.pipe\(/), []);
});

/** A whole statement that begins with a write: nobody looks at what it answers. */
const ignoredWrite = /^\s*(?:void )?[\w.?#]+\.write\(/;

/** Where it may be so, and what bounds it instead. */
const bounded: Readonly<Record<string, string>> = {
  "src/agent/exec/plain-process.ts": "waits for the callback before it takes the next input",
  "src/agent/files/download.ts": "waits for the callback before it fills its one buffer again",
  "src/agent/files/heartbeats.ts": "leaves out a reader that has not taken the last beat",
  "src/registry/metadata-batcher.ts": "is no stream: it writes to the node registry in memory",
  "src/carry/pass-through/bridge.ts": "one last frame, then the socket is destroyed",
  "src/cli/lifetime.ts": "a line on stderr for people",
  "src/cli/config.ts": "prints once, then ends",
  "src/cli/dev.ts": "prints once",
  "src/observe/log.ts": "the sink, which has a bound of its own and counts what it drops",
  "src/tunnel/forward.ts": "waits for the callback before it fills its one buffer again",
  "src/upstream/connection.ts": "one bounded request on a connection that has nothing else to send",
  "src/ingress/plain/reply.ts": "a head, or the end, of an answer whose pieces say when to go on",
  "src/tunnel/door.ts": "one head on a connection that has asked for it",
};

test("a write whose answer is ignored stands only where something else bounds it", () => {
  const files = new Set(found(ignoredWrite).map((place) => place.replace(/:.*/, "")));
  assert.deepEqual([...files].sort(), Object.keys(bounded).sort());
});

/* ---- secrets ---- */

test("digests of secrets are known to the files that hold and compare them, and to nobody else", () => {
  const files = new Set(
    found(/SecretHash|hashSecret|sameHash/).map((place) => place.replace(/:.*/, "")),
  );
  assert.deepEqual(
    [...files].sort(),
    ["src/acl/file-source.ts", "src/acl/join-tokens.ts", "src/acl/secrets.ts", "src/acl/token-file.ts"],
  ); // biome-ignore format: a list
});

/** Each compares what is no secret, or what one caller has sent twice. */
const harmless: Readonly<Record<string, string>> = {
  "digest === this.#digest": "a fingerprint of policies, for change",
  "next === token": "tokens of pages, which are no secrets",
  "digestOf(state) !== this.#digest": "a fingerprint of the files, for change",
  "header.secret !== token": "both are the caller's own words",
  "session.digest === digest": "a fingerprint of a node's document",
};

test("no secret and no digest of one is compared by ===", () => {
  const ends = /(?:secret|token|hash|digest|presented|authorization)$/i;
  const harmlessSide = /^(?:undefined|typeof|null|"[a-z]*"|\d+)$/;
  const compared = lines.flatMap(({ text }) =>
    [...text.matchAll(/([\w.#?()[\]]+) [!=]== ([\w."#?()[\]]+?)(?=[);,\s]*(?:[\s&|?]|$))/g)]
      .filter(([, left = "", right = ""]) => ends.test(left) || ends.test(right))
      .filter(([, left = "", right = ""]) => !harmlessSide.test(left) && !harmlessSide.test(right))
      .map(([all]) => all.replace(/^\(/, "")),
  );
  assert.deepEqual(compared.sort(), Object.keys(harmless).sort());
});

test("a cache of secrets is keyed by their keyed hash", () => {
  const caches = found(
    /new (?:LRUCache|Map)\b/,
    lines.filter(({ file }) => file.startsWith("src/acl/")),
  );
  assert.ok(caches.some((place) => place.includes("src/acl/identity-cache.ts")));
  const cache = readFileSync("src/acl/identity-cache.ts", "utf8");
  assert.match(cache, /const key = this\.#keyOf\(secret\)/);
  assert.equal(/#(?:verdicts|flights)\.(?:get|set|delete)\(secret/.test(cache), false);
});

/* ---- sessions ---- */

test("an HTTP/2 session is begun in two places, each with its error listener", () => {
  const begun = /= (?:connect|performServerHandshake)\(/;
  const users = lines.filter(({ text }) => /from "node:http2"/.test(text)).map(({ file }) => file);
  const places = new Set(
    found(
      begun,
      lines.filter(({ file }) => users.includes(file)),
    ).map((place) => place.replace(/:.*/, "")),
  );
  assert.deepEqual([...places].sort(), ["src/tunnel/link.ts", "src/tunnel/serve.ts"]);
  for (const file of places) assert.match(readFileSync(file, "utf8"), /session\.on\("error"/);
});

/* ---- what is never relaxed ---- */

const forbidden: readonly (readonly [what: string, pattern: RegExp])[] = [
  ["code made of text", /\beval\(|new Function\(/],
  ["a relaxed HTTP parser", /insecureHTTPParser: true/],
  ["TLS without verification", /rejectUnauthorized: false|NODE_TLS_REJECT/],
  ["compression of WebSocket messages", /perMessageDeflate: (?:true|\{)/],
  ["a shell for a caller's words", /shell: true/],
  ["redirects that are followed", /maxRedirections|interceptors\.redirect/],
]; // biome-ignore format: a table
for (const [what, pattern] of forbidden)
  test(`${what} is nowhere in the sources`, () => {
    assert.deepEqual(found(pattern), []);
  });
