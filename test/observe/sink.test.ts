import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  constants,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { Sink } from "../../src/observe/sink.ts";
import { scratch, soon, until } from "./support.ts";

test("lines come out whole and in order, however many are written at once", async () => {
  using at = scratch();
  const sink = new Sink({ output: at.file("a") });
  const lines = Array.from({ length: 5000 }, (_, n) => `${n} ${"x".repeat(n % 200)}\n`);
  for (const line of lines) assert.equal(sink.write(line), true);
  await sink.close(soon());
  assert.equal(readFileSync(at.file("a"), "utf8"), lines.join(""));
  assert.equal(sink.state.queuedBytes, 0);
});

test("a rotated file is followed after reopen, and no line is lost or doubled", async () => {
  using at = scratch();
  const sink = new Sink({ output: at.file("a") });
  for (let n = 0; n < 100; n++) sink.write(`${n}\n`);
  renameSync(at.file("a"), at.file("a.1"));
  sink.reopen();
  for (let n = 100; n < 200; n++) sink.write(`${n}\n`);
  await sink.close(soon());
  const both = readFileSync(at.file("a.1"), "utf8") + readFileSync(at.file("a"), "utf8");
  assert.equal(both, Array.from({ length: 200 }, (_, n) => `${n}\n`).join(""));
  assert.match(readFileSync(at.file("a"), "utf8"), /199\n$/);
});

test("an output that cannot be opened is refused at once", () => {
  assert.throws(() => new Sink({ output: "/nowhere/at/all" }), { code: "ENOENT" });
});

test("a file that cannot be opened again leaves the old one in use", async () => {
  using at = scratch();
  const sink = new Sink({ output: at.file("a") });
  renameSync(at.file("a"), at.file("b"));
  execFileSync("mkdir", [at.file("a")]);
  assert.throws(() => sink.reopen(), { code: "EISDIR" });
  sink.write("still here\n");
  await sink.close(soon());
  assert.equal(readFileSync(at.file("b"), "utf8"), "still here\n");
});

test("a full disk is told, counted, and never throws", async () => {
  const sink = new Sink({ output: "/dev/full", maxQueuedBytes: 1000 });
  for (let n = 0; n < 100; n++) sink.write(`${"x".repeat(99)}\n`);
  await until(() => sink.state.failing === "ENOSPC", "the failure");
  assert.ok(sink.state.dropped >= 89);
  assert.ok(sink.state.queuedBytes <= 1000);
  await sink.close(AbortSignal.abort());
});

test("one line that does not get out is stalled for as long as that lasts, and no longer", async () => {
  using at = scratch();
  const file = at.file("log");
  symlinkSync("/dev/full", file);
  const sink = new Sink({ output: file });
  assert.equal(sink.state.stalledMs, 0);
  sink.write("first\n", true);
  await until(() => sink.state.failing === "ENOSPC", "the failure");
  const { stalledMs } = sink.state;
  assert.ok(stalledMs > 0);
  sink.write("second\n", true);
  await until(() => sink.state.stalledMs > stalledMs + 500, "another try");
  rmSync(file);
  sink.reopen();
  await until(() => sink.state.stalledMs === 0, "all is out");
  await sink.close(soon());
});

test("an output on a full disk that is put elsewhere and opened again is written there, each line whole", async () => {
  using at = scratch();
  const file = at.file("log");
  symlinkSync("/dev/full", file);
  const sink = new Sink({ output: file });
  sink.write("first\n", true);
  await until(() => sink.state.failing === "ENOSPC", "the failure");
  rmSync(file);
  sink.reopen();
  sink.write("second\n", true);
  await until(() => sink.state.queuedBytes === 0, "all is out");
  assert.equal(readFileSync(file, "utf8"), "first\nsecond\n");
  assert.equal(sink.state.failing, undefined);
  await sink.close(soon());
});

const mayMount = process.getuid?.() === 0;

/** A directory on a disk of its own, of 256 KiB. */
const smallDisk = (at: string) => {
  mkdirSync(at);
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=256k", "none", at]);
  return { at, [Symbol.dispose]: () => void execFileSync("umount", ["-l", at]) };
};

test("a line that a full disk has cut is gone on with when the same file is opened again", {
  skip: !mayMount,
}, async () => {
  using at = scratch();
  using disk = smallDisk(at.file("disk"));
  const other = path.join(disk.at, "other");
  writeFileSync(other, Buffer.alloc(128 * 1024));
  const file = path.join(disk.at, "log");
  const sink = new Sink({ output: file });
  const lines = Array.from({ length: 1500 }, (_, nth) => `${nth} ${"x".repeat(99)}\n`);
  for (const line of lines) sink.write(line);
  await until(() => sink.state.failing === "ENOSPC", "the failure");
  assert.doesNotMatch(readFileSync(file, "utf8"), /\n$/);
  sink.reopen();
  rmSync(other);
  await sink.close(soon());
  assert.equal(readFileSync(file, "utf8"), lines.join(""));
});

test("a disk that the output has filled has room again once its file is removed and opened again", {
  skip: !mayMount,
}, async () => {
  using at = scratch();
  using disk = smallDisk(at.file("disk"));
  const file = path.join(disk.at, "log");
  const sink = new Sink({ output: file });
  const line = (nth: number): string => `${nth} ${"x".repeat(100)}\n`;
  for (let nth = 0; nth < 4000; nth++) sink.write(line(nth));
  await until(() => sink.state.failing === "ENOSPC", "the failure");
  rmSync(file);
  sink.reopen();
  await until(() => existsSync(file) && readFileSync(file).length > 0, "the new file");
  await until(() => sink.state.queuedBytes === 0, "all is out");
  const [first = ""] = readFileSync(file, "utf8").split("\n");
  assert.equal(`${first}\n`, line(Number.parseInt(first, 10)));
  assert.ok(readFileSync(file, "utf8").endsWith(line(3999)));
  await sink.close(soon());
});

test("a reader that stops neither blocks the writer nor loses what the queue holds", async () => {
  using at = scratch();
  const fifo = at.file("fifo");
  execFileSync("mkfifo", [fifo]);
  const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  const sink = new Sink({ output: fifo, maxQueuedBytes: 2 ** 20 });
  const lines = Array.from({ length: 4000 }, (_, n) => `${n} ${"y".repeat(100)}\n`);
  for (const line of lines) sink.write(line);
  assert.ok(sink.state.queuedBytes > 2 ** 17, "the pipe cannot have taken all");
  const buffer = Buffer.alloc(2 ** 16);
  let text = "";
  await until(() => {
    try {
      text += buffer.toString("utf8", 0, readSync(reader, buffer));
    } catch {
      // nothing in the pipe at this moment
    }
    return text.length === lines.join("").length;
  }, "all lines");
  assert.equal(text, lines.join(""));
  await sink.close(soon());
  closeSync(reader);
});

test("what a full pipe held up is written, as what came later is, before the process ends at once", async () => {
  using at = scratch();
  const fifo = at.file("fifo");
  execFileSync("mkfifo", [fifo]);
  const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  const filler = openSync(fifo, constants.O_WRONLY | constants.O_NONBLOCK);
  const fill = (): boolean => {
    try {
      return writeSync(filler, ".".repeat(4096)) > 0;
    } catch {
      return false; // the pipe is full
    }
  };
  while (fill());
  const script = `import { Sink } from ${JSON.stringify(path.join(import.meta.dirname, "../../src/observe/sink.ts"))};
    const sink = new Sink({ output: ${JSON.stringify(fifo)} });
    sink.write("begun\\n", true);
    setImmediate(() => setImmediate(() => {
      sink.write("the error\\n");
      console.log("now");
      sink.flush();
      process.exit(1);
    }));`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script]);
  const over = once(child, "close");
  await once(child.stdout, "data");
  const buffer = Buffer.alloc(2 ** 17);
  let text = "";
  const taking = setInterval(() => {
    try {
      text += buffer.toString("utf8", 0, readSync(reader, buffer));
    } catch {
      // nothing in the pipe at this moment
    }
  }, 5);
  await over;
  await until(() => text.endsWith("the error\n"), "the last line");
  clearInterval(taking);
  assert.equal(text.replace(/^\.+/, ""), "begun\nthe error\n");
  closeSync(reader);
  closeSync(filler);
});

test("lines of one turn of the loop arrive together", async () => {
  using at = scratch();
  const fifo = at.file("fifo");
  execFileSync("mkfifo", [fifo]);
  const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  const sink = new Sink({ output: fifo });
  for (const line of ["one\n", "two\n", "three\n"]) sink.write(line);
  const buffer = Buffer.alloc(100);
  let first = "";
  await until(() => {
    try {
      first = buffer.toString("utf8", 0, readSync(reader, buffer));
    } catch {
      // nothing in the pipe at this moment
    }
    return first !== "";
  }, "a line");
  assert.equal(first, "one\ntwo\nthree\n");
  await sink.close(soon());
  closeSync(reader);
});

test("patience at closing ends: a dead reader cannot hold the process", async () => {
  using at = scratch();
  const fifo = at.file("fifo");
  execFileSync("mkfifo", [fifo]);
  const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  const sink = new Sink({ output: fifo });
  for (let n = 0; n < 2000; n++) sink.write(`${"z".repeat(500)}\n`);
  const patience = new AbortController();
  const closed = sink.close(patience.signal);
  patience.abort();
  await closed;
  assert.equal(sink.write("late\n"), false);
  closeSync(reader);
});

test("a reader of stdout that leaves does not end the process", async () => {
  const module = path.join(import.meta.dirname, "../../src/observe/sink.ts");
  const script = `import { Sink } from ${JSON.stringify(module)};
    const sink = new Sink({ output: "stdout" });
    const beat = setInterval(() => sink.write("line\\n"), 5);
    const watch = setInterval(() => {
      if (sink.state.failing !== "EPIPE") return;
      clearInterval(beat); clearInterval(watch);
      process.stderr.write("alive with " + sink.state.failing);
    }, 5);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script]);
  child.stdout.once("data", () => child.stdout.destroy());
  let errors = "";
  child.stderr.on("data", (chunk) => {
    errors += chunk;
  });
  const [code] = await once(child, "exit");
  assert.deepEqual([code, errors], [0, "alive with EPIPE"]);
});

test("two sinks on one stdout do not mix their lines, even when its reader is slow", async () => {
  const module = path.join(import.meta.dirname, "../../src/observe/sink.ts");
  const script = `import { Sink } from ${JSON.stringify(module)};
    const sinks = ["a", "b"].map((name) => [name, new Sink({ output: "stdout" })]);
    for (let n = 0; n < 5000; n++)
      for (const [name, sink] of sinks) sink.write(name.repeat(n % 300) + " " + name + n + "\\n");
    const keep = setInterval(() => undefined, 1000);
    await Promise.all(sinks.map(([, sink]) => sink.close(AbortSignal.timeout(20_000))));
    clearInterval(keep);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script]);
  child.stderr.resume();
  let text = "";
  child.stdout.on("data", (chunk) => {
    text += chunk;
    child.stdout.pause();
    setImmediate(() => child.stdout.resume());
  });
  await once(child, "close");
  const lines = text.split("\n").slice(0, -1);
  assert.equal(lines.length, 10_000);
  for (const line of lines) assert.match(line, /^(a* a|b* b)\d+$/);
});

test("nor do they mix lines that are longer than what a pipe takes whole", async () => {
  using at = scratch();
  const fifo = at.file("fifo");
  execFileSync("mkfifo", [fifo]);
  const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  const stdout = openSync(fifo, constants.O_WRONLY);
  const module = path.join(import.meta.dirname, "../../src/observe/sink.ts");
  const script = `import { Sink } from ${JSON.stringify(module)};
    const sinks = ["a", "b"].map((name) => [name, new Sink({ output: "stdout" })]);
    for (let n = 0; n < 300; n++)
      for (const [name, sink] of sinks) sink.write(name.repeat((n * 97) % 12_000) + " " + name + n + "\\n");
    const keep = setInterval(() => undefined, 1000);
    await Promise.all(sinks.map(([, sink]) => sink.close(AbortSignal.timeout(20_000))));
    clearInterval(keep);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", stdout, "inherit"],
  });
  closeSync(stdout);
  const buffer = Buffer.alloc(20_000);
  let text = "";
  const take = (): void => {
    try {
      text += buffer.toString("utf8", 0, readSync(reader, buffer));
    } catch {
      // nothing in the pipe at this moment
    }
  };
  const taking = setInterval(take, 3);
  await once(child, "close");
  await until(() => text.split("\n").length > 600, "all lines");
  clearInterval(taking);
  closeSync(reader);
  const lines = text.split("\n").slice(0, -1);
  assert.equal(lines.length, 600);
  for (const line of lines) assert.match(line, /^(a* a|b* b)\d+$/);
});
