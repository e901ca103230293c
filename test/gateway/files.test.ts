/** Files of an allocation through the gate: awkward names and sizes, to the byte, and never as active content. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { isJsonObject, type JsonObject } from "../../src/lib/json.ts";
import { get, type RawAnswer, rawRequest } from "../support/raw-client.ts";
import { eventually, type Reply, type Rig, startRig } from "../support/rig.ts";

let rig: Rig;
let allocation = "";
let token = "";
let root = "";
let port = 0;

const data = (name: string | Buffer): Buffer =>
  Buffer.concat([Buffer.from(`${root}/alloc/data/`), Buffer.from(name)]);

before(async () => {
  const main = { name: "main", command: "/bin/sleep", args: ["1000"], kill_timeout: "1s" };
  rig = await startRig({
    policies: { reader: { namespace: [{ "*": { policy: "read", capabilities: ["read-fs"] } }] } },
    tokens: { reader: { policies: ["reader"] } },
    agents: [{ workloads: [{ job: "files", group: "main", tasks: [main] }] }],
  });
  allocation = rig.allocation("files");
  token = rig.secret("reader");
  port = Number(new URL(rig.url).port);
  root = path.join(rig.directory, "agent-1", "alloc", allocation);
  await eventually(
    "the task runs",
    () => rig.gateway.registry.allocation(allocation)?.ClientStatus === "running" || undefined,
  );
});
after(async () => {
  await rig[Symbol.asyncDispose]();
});

const encoded = (name: string | Buffer): string =>
  [...Buffer.from(name)].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join("");
const target = (operation: string, name: string | Buffer, more = ""): string =>
  `/v1/client/fs/${operation}/${allocation}?path=${encoded(name)}${more}`;
const ask = (operation: string, name: string | Buffer, more = ""): Promise<Reply> =>
  rig.get(target(operation, name, more), token);
const at = (name: string | Buffer): Buffer =>
  Buffer.concat([Buffer.from("alloc/data/"), Buffer.from(name)]);
const raw = (path: string, change: (head: string) => string = (head) => head): Promise<RawAnswer> =>
  rawRequest(port, change(get(path, `X-Nomad-Token: ${token}\r\n`)));

const entries = (reply: Reply): readonly JsonObject[] => {
  const list = reply.json();
  assert.ok(Array.isArray(list), reply.text);
  return list.filter(isJsonObject);
};

describe("awkward names", () => {
  const names: readonly string[] = [
    "two words", " leading", "trailing ", "a&b=c", "100%", "%41", "a+b", "a;b", "a#b?c", "it's \"quoted\"", "back\\slash", "<script>",
    "new\nline", "tab\tbell\x07", "na\u00efve \u20ac", "\u65e5\u672c\u8a9e", "\u{1f600}", "e\u0301", "...", "..a", "-rf", "~", "\u202eflip",
    "x".repeat(255), "\u00fc".repeat(127),
  ]; // biome-ignore format: a table
  for (const name of names)
    test(`${JSON.stringify(name.slice(0, 30))} is listed, described and read`, async () => {
      const content = `content of ${name}`;
      writeFileSync(data(name), content);
      const stat = (await ask("stat", at(name))).json();
      assert.ok(isJsonObject(stat));
      assert.equal(stat["Name"], name);
      assert.equal(stat["Size"], Buffer.byteLength(content));
      assert.equal((await ask("cat", at(name))).text, content);
      assert.equal((await ask("readat", at(name), "&offset=11")).text, name);
      assert.ok(entries(await ask("ls", "alloc/data")).some((entry) => entry["Name"] === name));
    });

  test("bytes that are no UTF-8 are read by their percent-encoding", async () => {
    const name = Buffer.from([0x6c, 0xe9, 0xff, 0x2e, 0x74]);
    writeFileSync(data(name), "latin");
    assert.equal((await ask("cat", at(name))).text, "latin");
    const stat = (await ask("stat", at(name))).json();
    assert.ok(isJsonObject(stat));
    assert.equal(stat["Size"], 5);
    assert.ok(
      entries(await ask("ls", "alloc/data")).some((entry) => entry["Name"] === "l\ufffd\ufffd.t"),
    );
  });

  test("a frame names such a file as Go prints it", async () => {
    const name = Buffer.from([0x6d, 0xe9, 0x2e, 0x74]);
    writeFileSync(data(name), "latin");
    const frames = await ask("stream", at(name), "&follow=false");
    assert.match(frames.text, /"Data":"bGF0aW4="/);
    assert.match(frames.text, /"File":"alloc\/data\/m\ufffd\.t"/);
    const stat = (await ask("stat", at(name))).json();
    assert.equal(isJsonObject(stat) && stat["Name"], "m\ufffd.t");
  });

  test("a name that was not percent-encoded at all is refused", async () => {
    const answer = await raw(`/v1/client/fs/cat/${allocation}?path=alloc/data/na\u00efve`);
    assert.equal(answer.status, 400);
  });

  test("a name that was not written is not found", async () => {
    for (const operation of ["ls", "stat"])
      assert.equal((await ask(operation, at("none"))).status, 404);
    for (const operation of ["cat", "readat"])
      assert.ok((await ask(operation, at("none"), "&offset=0")).status >= 400);
  });
});

describe("sizes and places", () => {
  test("an empty file is an empty 200", async () => {
    writeFileSync(data("empty"), "");
    for (const reply of [
      await ask("cat", at("empty")),
      await ask("readat", at("empty"), "&offset=0"),
    ]) {
      assert.equal(reply.status, 200);
      assert.equal(reply.body.length, 0);
      assert.equal(reply.headers["content-length"], "0");
    }
  });

  test("64 MiB arrive with the same hash", async () => {
    const content = randomBytes(64 * 1024 * 1024);
    writeFileSync(data("big"), content);
    const { body } = await ask("cat", at("big"));
    assert.equal(body.length, content.length);
    assert.equal(
      createHash("sha256").update(body).digest("hex"),
      createHash("sha256").update(content).digest("hex"),
    );
  });

  test("offset and limit are kept to the byte, past the end is empty", async () => {
    const content = randomBytes(200_000);
    writeFileSync(data("pieces"), content);
    const rows: readonly (readonly [offset: number, limit: number | undefined])[] = [
      [0, 1], [0, 65_536], [1, 65_537], [199_999, 1], [199_999, 100], [200_000, 1], [200_001, 1], [9_007_199_254_740_991, 5], [5, 0], [5, -1], [7, undefined],
    ]; // biome-ignore format: a table
    for (const [offset, limit] of rows) {
      const { body, status } = await ask(
        "readat",
        at("pieces"),
        `&offset=${offset}${limit === undefined ? "" : `&limit=${limit}`}`,
      );
      assert.equal(status, 200);
      const end = limit === undefined || limit <= 0 ? content.length : offset + limit;
      assert.ok(
        body.equals(content.subarray(Math.min(offset, content.length), end)),
        `${offset} ${limit}`,
      );
    }
  });

  test("a sparse file of 5 GB is read in pieces, beyond 4 GiB too", async () => {
    const size = 5_000_000_000;
    writeFileSync(data("sparse"), "head");
    truncateSync(data("sparse"), size);
    spawnSync(
      "dd",
      [
        `of=${data("sparse").toString()}`,
        "bs=1",
        `seek=${size - 4}`,
        "conv=notrunc",
        "status=none",
      ],
      { input: "tail" },
    );
    const stat = (await ask("stat", at("sparse"))).json();
    assert.ok(isJsonObject(stat) && stat["Size"] === size);
    assert.equal((await ask("readat", at("sparse"), "&offset=0&limit=4")).text, "head");
    assert.equal((await ask("readat", at("sparse"), `&offset=${size - 4}`)).text, "tail");
    const middle = await ask("readat", at("sparse"), "&offset=4294967296&limit=1000000");
    assert.equal(middle.body.length, 1_000_000);
    assert.ok(middle.body.every((byte) => byte === 0));
    assert.equal((await ask("readat", at("sparse"), `&offset=${size + 1}`)).body.length, 0);
  });
});

describe("what an allocation must not give", () => {
  test("links are followed inside the allocation, never out of it", async () => {
    writeFileSync(data("real"), "inside");
    symlinkSync("real", data("in"));
    symlinkSync("/etc/passwd", data("out"));
    symlinkSync("../../../../../../../../etc", data("up"));
    symlinkSync("loop", data("loop"));
    assert.equal((await ask("cat", at("in"))).text, "inside");
    for (const name of ["out", "up/passwd"])
      for (const operation of ["cat", "stat", "readat"]) {
        const reply = await ask(operation, at(name), "&offset=0");
        assert.ok(reply.status >= 400, `${operation} ${name}: ${reply.status}`);
        assert.equal(reply.text, "Path escapes the alloc directory");
      }
    assert.ok((await ask("cat", at("loop"))).status >= 400);
    for (const name of ["../../../etc/passwd", "/../etc/passwd", "alloc/../../x"])
      assert.equal((await ask("cat", name)).text, "Path escapes the alloc directory");
  });

  test("secrets and private directories are not read, by whatever name", async () => {
    for (const directory of ["secrets", "private"]) {
      mkdirSync(path.join(root, "main", directory), { recursive: true });
      writeFileSync(path.join(root, "main", directory, "key"), "hush");
    }
    symlinkSync("../../main/secrets", data("hidden"));
    for (const name of [
      "main/secrets/key",
      "main/./secrets//key",
      "/main/local/../secrets/key",
      "alloc/data/hidden/key",
      "main/private/key",
    ]) {
      const reply = await ask("cat", name);
      assert.ok(reply.status >= 400, name);
      assert.ok(!reply.text.includes("hush"));
      assert.match(reply.text, /^Reading (?:secret|private) file prohibited/);
    }
  });

  test("a pipe is refused at once, not waited for", async () => {
    assert.equal(spawnSync("mkfifo", [data("pipe").toString()]).status, 0);
    for (const operation of ["cat", "readat", "stream"]) {
      const reply = await ask(operation, at("pipe"), "&offset=0");
      assert.ok(reply.status >= 400, `${operation}: ${reply.status}`);
    }
  });

  test("a directory is not read, a file is not listed", async () => {
    assert.ok((await ask("cat", "alloc/data")).status >= 400);
    writeFileSync(data("plain"), "x");
    assert.ok((await ask("ls", at("plain"))).status >= 400);
  });
});

describe("heads", () => {
  const check = ({ headers }: RawAnswer): void => {
    assert.equal(headers.get("x-content-type-options"), "nosniff");
    assert.match(headers.get("content-security-policy") ?? "", /sandbox/);
    assert.equal(headers.get("cache-control"), "no-store");
    for (const name of ["set-cookie", "x-powered-by", "access-control-allow-origin", "location"])
      assert.equal(headers.get(name), undefined, name);
    assert.match(headers.get("x-request-id") ?? "", /^[\w-]+$/);
  };

  test("HTML, SVG and XML are plain text or bytes, also behind blanks and a mark", async () => {
    const pages = [
      "<!DOCTYPE html><script>1</script>",
      "  \n<html><body>",
      "<svg xmlns='http://www.w3.org/2000/svg' onload='1'/>",
      "<?xml version='1.0'?><a/>",
      "\ufeff<html>",
      "%PDF-1.4",
      "<script>alert(1)</script>",
    ];
    for (const page of pages) {
      writeFileSync(data("page.html"), page);
      for (const operation of ["cat", "readat"]) {
        const answer = await raw(target(operation, at("page.html"), "&offset=0"));
        assert.equal(answer.body.toString(), page);
        assert.doesNotMatch(answer.headers.get("content-type") ?? "", /html|xml|svg|script/i, page);
        check(answer);
      }
    }
  });

  test("HEAD has the head of GET and no body", async () => {
    writeFileSync(data("headed"), "hello\n");
    const whole = await raw(target("cat", at("headed")));
    const head = await raw(target("cat", at("headed")), (bytes) =>
      bytes.replace("GET", "HEAD").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"),
    );
    assert.equal(head.status, 200);
    assert.equal(head.body.length, 0);
    assert.equal(head.headers.get("content-type"), whole.headers.get("content-type"));
    check(head);
    for (const operation of ["ls", "stat"]) {
      const answer = await raw(target(operation, "alloc/data"), (bytes) =>
        bytes.replace("GET", "HEAD"),
      );
      assert.equal(answer.status, 200);
      assert.equal(answer.body.length, 0);
    }
  });

  for (const [reader, line] of [
    ["the gateway", ""],
    ["node:http", "Content-Length: 0\r\n"],
  ] as const)
    test(`a large file that ${reader} was asked for is whole, and its bytes alone are counted`, async () => {
      const content = randomBytes(3_000_000 + line.length);
      writeFileSync(data("chunks"), content);
      const answer = await raw(target("cat", at("chunks")), (head) =>
        head.replace("\r\n\r\n", `\r\n${line}\r\n`),
      );
      assert.equal(answer.headers.get("transfer-encoding"), "chunked");
      assert.equal(answer.end, "whole");
      assert.ok(answer.body.equals(content));
      await eventually("its end is in the audit log", () =>
        rig
          .audit()
          .some((record) => record["audit"] === "end" && record["bytesOut"] === content.length),
      );
    });

  test("HTTP/1.0 gets it close-delimited or by length, never chunked", async () => {
    const content = randomBytes(3_000_000);
    writeFileSync(data("old"), content);
    const answer = await raw(target("cat", at("old")), (bytes) =>
      bytes.replace("HTTP/1.1", "HTTP/1.0"),
    );
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get("transfer-encoding"), undefined);
    assert.ok(answer.body.equals(content));
    assert.equal(answer.end, "whole");
    check(answer);
  });
});
