import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { readIfThere, replaceFile } from "../../src/lib/whole-file.ts";

const folder = async (): Promise<AsyncDisposable & { readonly at: string }> => {
  const at = await mkdtemp(path.join(tmpdir(), "serai-whole-file-"));
  return { at, [Symbol.asyncDispose]: () => rm(at, { recursive: true }) };
};

test("a file is replaced as a whole, is its owner's alone, and leaves nothing beside it", async () => {
  await using place = await folder();
  const file = path.join(place.at, "state");
  assert.equal(await readIfThere(file), undefined);
  await writeFile(`${file}.new`, "half of what a crash left", { mode: 0o644 });
  await chmod(`${file}.new`, 0o644);
  await replaceFile(file, "one, and longer");
  await replaceFile(file, "two");
  assert.equal(await readIfThere(file), "two");
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  assert.deepEqual(await readdir(place.at), ["state"]);
});

test("what cannot be written leaves the file before it", async () => {
  await using place = await folder();
  const file = path.join(place.at, "state");
  await replaceFile(file, "one");
  await mkdir(`${file}.new`);
  await assert.rejects(replaceFile(file, "two"), { code: "EISDIR" });
  assert.equal(await readIfThere(file), "one");
});
