/** Ranges of whole files, taken from serai's own agent: what curl and wget do, and what nobody must get. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash, randomBytes, randomInt } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { get, rawClient } from "../support/raw-client.ts";
import { eventually, type Reply, type Rig, startRig } from "../support/rig.ts";

const run = promisify(execFile);
const content = randomBytes(9 * 2 ** 20 + 137);
let rig: Rig;
let token = "";
let data = "";
let id = "";

const sha = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");
const target = (name: string): string => `/v1/client/fs/cat/${id}?path=alloc/data/${name}`;
const cat = (
  name: string,
  headers: Readonly<Record<string, string>> = {},
  method: "GET" | "HEAD" | "POST" = "GET",
): Promise<Reply> => rig.ask({ method, path: target(name), token, headers });

before(async () => {
  const main = { name: "main", command: "/bin/sleep", args: ["1000"], kill_timeout: "1s" };
  rig = await startRig({
    policies: { reader: { namespace: [{ "*": { policy: "read", capabilities: ["read-fs"] } }] } },
    tokens: { reader: { policies: ["reader"] }, none: {} },
    agents: [{ workloads: [{ job: "files", group: "main", tasks: [main] }] }],
  });
  id = rig.allocation("files");
  token = rig.secret("reader");
  data = path.join(rig.directory, "agent-1", "alloc", id, "alloc", "data");
  await rig.until("files", "running");
  writeFileSync(path.join(data, "file"), content);
  writeFileSync(path.join(data, "ten"), "0123456789");
  writeFileSync(path.join(data, "empty"), "");
  mkdirSync(path.join(data, "directory"));
});
after(() => rig[Symbol.asyncDispose]());

describe("one range of a file", () => {
  const rows: readonly (readonly [asked: string, wanted: string, range: string])[] = [
    ["bytes=0-3", "0123", "0-3"], ["bytes=4-", "456789", "4-9"], ["bytes=-3", "789", "7-9"], ["bytes=9-9", "9", "9-9"],
    ["bytes=0-", "0123456789", "0-9"], ["bytes=5-99999999999999999999", "56789", "5-9"], ["bytes=-99", "0123456789", "0-9"],
    ["BYTES=2-3", "23", "2-3"], ["bytes= 2-3 ", "23", "2-3"],
  ]; // biome-ignore format: a table
  for (const [asked, wanted, range] of rows)
    test(`${JSON.stringify(asked)} is 206 with just that`, async () => {
      const got = await cat("ten", { Range: asked });
      assert.equal(got.status, 206);
      assert.equal(got.text, wanted);
      assert.equal(got.headers["content-range"], `bytes ${range}/10`);
      assert.equal(got.headers["content-length"], String(wanted.length));
      assert.equal(got.headers["accept-ranges"], "bytes");
      assert.match(String(got.headers["etag"]), /^"[^"]+"$/);
      assert.equal(got.headers["cache-control"], "no-store");
      assert.match(String(got.headers["content-security-policy"]), /sandbox/);
    });

  for (const asked of ["bytes=10-", "bytes=10-12", "bytes=-0", "bytes=99999999999999999999-"])
    test(`${asked} of ten bytes is 416 and says how many there are`, async () => {
      const got = await cat("ten", { Range: asked });
      assert.equal(got.status, 416);
      assert.equal(got.headers["content-range"], "bytes */10");
      assert.equal(got.headers["x-serai-error"], "range_not_satisfiable");
      assert.match(got.text, /the file has 10 bytes/);
    });

  for (const asked of ["bytes=0-1,3-4", "bytes=3-1", "lines=0-1", "bytes=a-b", "bytes=", "bytes=-", "0-1"])
    test(`${asked} is ignored: the whole file`, async () => {
      const got = await cat("ten", { Range: asked });
      assert.deepEqual([got.status, got.text], [200, "0123456789"]);
      assert.equal(got.headers["content-range"], undefined);
      assert.equal(got.headers["accept-ranges"], "bytes");
    }); // biome-ignore format: a row

  test("HEAD tells of the version and the size, and of no part", async () => {
    const got = await cat("ten", { Range: "bytes=0-3" }, "HEAD");
    assert.equal(got.status, 200);
    assert.equal(got.headers["content-length"], "10");
    assert.equal(got.headers["etag"], (await cat("ten")).headers["etag"]);
    assert.equal(got.body.length, 0);
  });

  test("only GET has ranges, an empty file none", async () => {
    assert.deepEqual([(await cat("ten", { Range: "bytes=1-2" }, "POST")).status], [200]);
    const empty = await cat("empty", { Range: "bytes=0-" });
    assert.deepEqual([empty.status, empty.text], [200, ""]);
  });
});

describe("a range that is refused", () => {
  test("no such file: stat's words; a directory: cat's own", async () => {
    const none = await cat("none", { Range: "bytes=0-" });
    assert.equal(none.status, 404);
    assert.match(none.text, /^stat .*\/alloc\/data\/none: no such file or directory$/);
    const directory = await cat("directory", { Range: "bytes=0-" });
    const whole = await cat("directory");
    assert.deepEqual([directory.status, directory.text], [whole.status, whole.text]);
    assert.match(directory.text, /is a directory$/);
  });

  test("the right and the closed directories are those of the whole file", async () => {
    const denied = await rig.ask({
      path: target("ten"),
      token: rig.secret("none"),
      headers: { Range: "bytes=0-" },
    });
    assert.deepEqual([denied.status, denied.text], [403, "Permission denied"]);
    const secrets = path.join(data, "../../main/secrets");
    mkdirSync(secrets, { recursive: true });
    writeFileSync(path.join(secrets, "key"), "hidden");
    const secret = await rig.ask({
      path: `/v1/client/fs/cat/${id}?path=main/secrets/key`,
      token,
      headers: { Range: "bytes=0-" },
    });
    assert.deepEqual(
      [secret.status, secret.text],
      [500, "Reading secret file prohibited: main/secrets/key"],
    );
  });
});

describe("If-Range", () => {
  test("with this version's ETag gives the part, with any other the whole file", async () => {
    const name = "versions";
    writeFileSync(path.join(data, name), "first version");
    const { headers } = await cat(name);
    const tag = String(headers["etag"]);
    const ask = (version: string): Promise<Reply> =>
      cat(name, { Range: "bytes=6-", "If-Range": version });
    const same = await ask(tag);
    assert.deepEqual([same.status, same.text], [206, "version"]);
    for (const other of ['"other"', `W/${tag}`, "Thu, 26 Nov 2026 04:00:00 GMT"]) {
      const whole = await ask(other);
      assert.deepEqual([whole.status, whole.text], [200, "first version"], other);
      assert.equal(whole.headers["etag"], tag);
    }
    writeFileSync(path.join(data, name), "second version");
    const changed = await ask(tag);
    assert.deepEqual([changed.status, changed.text], [200, "second version"]);
    assert.notEqual(changed.headers["etag"], tag);
  });
});

describe("a download that is taken up again", () => {
  /** What comes of the file from there on until the caller has seen so many bytes of the answer. */
  const piece = async (from: number, tag: string, enough: number) => {
    const port = Number(new URL(rig.url).port);
    const more = from === 0 ? "" : `Range: bytes=${from}-\r\nIf-Range: ${tag}\r\n`;
    const client = rawClient(port, get(target("file"), `X-Nomad-Token: ${token}\r\n${more}`));
    const ended = client.answer();
    await eventually(
      "enough has come",
      () => client.socket.bytesRead > enough || client.socket.destroyed || undefined,
    );
    client.socket.destroy();
    const { body, status, headers } = await ended;
    assert.equal(status, from === 0 ? 200 : 206);
    return { body, tag: headers.get("etag") ?? assert.fail("no ETag") };
  };

  const inPieces = async (): Promise<Buffer> => {
    const parts: Buffer[] = [];
    let have = 0;
    let tag = "";
    for (let cuts = 0; have < content.length; cuts++) {
      assert.ok(cuts < 40, "each piece brings it on");
      const got = await piece(have, tag, randomInt(1, 3_000_000) * (cuts < 30 ? 1 : 10));
      parts.push(got.body);
      have += got.body.length;
      tag = got.tag;
    }
    return Buffer.concat(parts);
  };

  test("at any cut has the file's own hash", async () => {
    for (let round = 0; round < 3; round++) assert.equal(sha(await inPieces()), sha(content));
  });

  const local = (name: string, begun: Buffer): string => {
    const file = path.join(rig.directory, name);
    writeFileSync(file, begun);
    return file;
  };

  test("curl -C - continues, and has nothing to do when all is there", async () => {
    const file = local("curl", content.subarray(0, 1_234_567));
    const curl = (): Promise<unknown> =>
      run("curl", [
        "-sS", "--fail-with-body", "-C", "-", "-H", `X-Nomad-Token: ${token}`, "-o", file, `${rig.url}${target("file")}`,
      ]); // biome-ignore format: a command
    await curl();
    assert.equal(sha(readFileSync(file)), sha(content));
    await curl().catch(() => undefined); // how curl calls a 416 differs by version; the file is what matters
    assert.equal(sha(readFileSync(file)), sha(content));
  });

  test("wget -c continues, and has nothing to do when all is there", async (context) => {
    const file = local("wget", content.subarray(0, 3_210_987));
    const wget = (): Promise<unknown> =>
      run("wget", [
        "-q", "-c", "--tries=1", "--header", `X-Nomad-Token: ${token}`, "-O", file, `${rig.url}${target("file")}`,
      ]); // biome-ignore format: a command
    try {
      await wget();
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ENOENT")
        return context.skip("no wget here");
      throw error;
    }
    assert.equal(sha(readFileSync(file)), sha(content));
    await wget();
    assert.equal(sha(readFileSync(file)), sha(content));
  });
});
