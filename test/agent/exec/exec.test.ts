/** Commands over the exec socket: frames, exit codes, input, and the end of things. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { chmod, writeFile } from "node:fs/promises";
import path from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { endSession } from "../../../src/agent/exec/session-processes.ts";
import { processIds, readEnvironment } from "../../../src/agent/procfs.ts";
import { farewell } from "../../../src/lib/web-socket.ts";
import {
  allocationId,
  ExecClient,
  type ExecOptions,
  eventually,
  exec,
  isAlive,
  type TestDoor,
  testDoor,
  unknownId,
} from "../api/support.ts";

let door: TestDoor;
before(async () => {
  door = await testDoor();
});
after(async () => {
  await door[Symbol.asyncDispose]();
});

const sh = (script: string): readonly string[] => ["/bin/sh", "-c", script];
const goodEnd = '{"exited":true,"result":{}}';

const exits: readonly { name: string; script: string; exit: string }[] = [
  { name: "success", script: "exit 0", exit: goodEnd },
  { name: "exit 7", script: "exit 7", exit: '{"exited":true,"result":{"exit_code":7}}' },
  { name: "SIGKILL", script: "kill -9 $$", exit: '{"exited":true,"result":{"exit_code":137}}' },
  { name: "SIGHUP", script: "kill -1 $$", exit: '{"exited":true,"result":{"exit_code":129}}' },
];
for (const { name, script, exit } of exits)
  for (const tty of ["false", "true"])
    test(`${name} with tty=${tty} ends with its frame and close 1000 though stdin stays open`, async () => {
      const { frames, code } = await exec(door.port, { command: sh(script), tty });
      assert.equal(frames.at(-1), exit);
      assert.equal(code, 1000);
    });

test("output comes on its own stream, each stream is closed before the exit frame", async () => {
  const ended = await exec(door.port, { command: sh("echo out; echo err >&2; exit 7") });
  assert.deepEqual(
    [...ended.frames].sort(),
    [
      '{"exited":true,"result":{"exit_code":7}}',
      '{"stderr":{"close":true}}',
      '{"stderr":{"data":"ZXJyCg=="}}',
      '{"stdout":{"close":true}}',
      '{"stdout":{"data":"b3V0Cg=="}}',
    ].sort(),
  );
  assert.equal(ended.frames.at(-1), '{"exited":true,"result":{"exit_code":7}}');
});

test("a command sees the task's environment and directory", async () => {
  const { stdout } = await exec(door.port, {
    command: sh("echo $GREETING $NOMAD_TASK_NAME; pwd | sed s,.*/alloc/,/,"),
  });
  assert.equal(stdout.toString(), `hello web\n/${allocationId}/web\n`);
});

test("a frame carries at most 4096 bytes", async () => {
  const { frames, stdout } = await exec(door.port, { command: sh("head -c 10000 /dev/zero") });
  assert.equal(stdout.length, 10_000);
  const longest = '{"stdout":{"data":""}}'.length + Math.ceil(4096 / 3) * 4;
  assert.ok(frames.every((frame) => frame.length <= longest));
});

const inputs: readonly { name: string; frames: readonly (object | string)[]; output: string }[] = [
  { name: "plain data", frames: [{ stdin: { data: "YWIK" } }, { stdin: { data: "Y2QK" } }], output: "ab\ncd\n" },
  { name: "keys in other letter case", frames: ['{"STDIN":{"Data":"Y2FzZQo="},"extra":1}'], output: "case\n" },
  { name: "a size beside the data", frames: [{ stdin: { data: "Ym90aAo=" }, tty_size: { height: 1, width: 1 } }], output: "both\n" },
  { name: "heartbeats", frames: ["{}", "{}", '{"stdin":null}'], output: "" },
  { name: "a second object in a message", frames: ['{}{"stdin":{"data":"YWIK"}}'], output: "" },
  { name: "a size without a terminal", frames: [{ tty_size: { height: 9, width: 9 } }], output: "" },
]; // biome-ignore format: a table
for (const { name, frames, output } of inputs)
  test(`cat gives back ${name} and ends with its input`, async () => {
    const client = await new ExecClient(door.port, { command: ["/bin/cat"] }).opened();
    for (const frame of frames) client.send(frame);
    client.closeInput();
    const ended = await client.ended();
    assert.equal(ended.stdout.toString(), output);
    assert.equal(ended.frames.at(-1), goodEnd);
  });

test("data and close in one binary message are both heard", async () => {
  const client = await new ExecClient(door.port, { command: ["cat"] }).opened();
  client.socket.send(Buffer.from('{"stdin":{"data":"b25lCg==","close":true}}'), { binary: true });
  const ended = await client.ended();
  assert.equal(ended.stdout.toString(), "one\n");
  assert.equal(ended.frames.at(-1), goodEnd);
});

const refusals: readonly (ExecOptions & { name: string; code: number; reason: string })[] = [
  { name: "no command", command: "", code: 1011, reason: "failed to marshal command into json: unexpected end of JSON input" },
  { name: "a command that is no JSON", command: "ls -l", code: 1011, reason: "failed to marshal command into json: invalid character 'l' looking for beginning of value" },
  { name: "a command that is a string", command: '"ls"', code: 1011, reason: "failed to marshal command into json: json: cannot unmarshal string into Go value of type []string" },
  { name: "a number in the command", command: '["ls",1]', code: 1011, reason: "failed to marshal command into json: json: cannot unmarshal number into Go value of type string" },
  { name: "an empty command", command: [], code: 1008, reason: "command is not present" },
  { name: "a null command", command: "null", code: 1008, reason: "command is not present" },
  { name: "an empty program", command: [""], code: 1011, reason: "rpc error: code = Unknown desc = failed to start command: exec: no command" },
  { name: "a missing program", command: ["/no/such/program"], code: 1011, reason: "rpc error: code = Unknown desc = failed to start command: fork/exec /no/such/program: no such file or directory" },
  { name: "a missing program on a terminal", command: ["/no/such/program"], tty: "true", code: 1011, reason: "rpc error: code = Unknown desc = failed to start command: fork/exec /no/such/program: no such file or directory" },
  { name: "a program not on the path", command: ["no-such"], code: 1011, reason: 'rpc error: code = Unknown desc = failed to start command: exec: "no-such": executable file not found in $PATH' },
  { name: "a directory as program", command: ["/tmp"], code: 1011, reason: "rpc error: code = Unknown desc = failed to start command: fork/exec /tmp: permission denied" },
  { name: "a tty that is no bool", command: ["ls"], tty: "x", code: 1011, reason: 'tty value is not a boolean: strconv.ParseBool: parsing "x": invalid syntax' },
  { name: "no task", command: ["ls"], task: "", code: 1008, reason: "must provide task name" },
  { name: "an unknown task", command: ["ls"], task: "nope", code: 1011, reason: "task not found" },
  { name: "a task that never ran", command: ["ls"], task: "later", code: 1008, reason: 'task "later" not started yet.' },
  { name: "a finished task", command: ["ls"], task: "init", code: 1008, reason: 'task "init" is not running.' },
  { name: "an unknown allocation without a token", command: ["ls"], id: unknownId, token: "", code: 1008, reason: `Unknown allocation "${unknownId}"` },
  { name: "an unknown allocation with a refused token", command: ["ls"], id: unknownId, token: "deleted", code: 1011, reason: "Permission denied" },
  { name: "a short id", command: ["ls"], id: "307b0057", code: 1011, reason: "alloc lookup failed: index error: UUID must be 36 characters" },
  { name: "an id that is not hex", command: ["ls"], id: "zzzzzzzz-2222-3333-4444-555555555555", code: 1011, reason: "alloc lookup failed: index error: Invalid UUID: encoding/hex: invalid byte: U+007A 'z'" },
  { name: "no token", command: ["ls"], token: "", code: 1011, reason: "Permission denied" },
  { name: "a refused token", command: ["ls"], token: "deleted", code: 1011, reason: "Permission denied" },
  { name: "a right to read only", command: ["ls"], token: "read", code: 1011, reason: "Permission denied" },
  { name: "alloc-exec without alloc-node-exec", command: ["ls"], token: "alloc-exec", code: 1011, reason: "Permission denied" },
  { name: "everything but alloc-node-exec", command: ["ls"], token: "write", code: 1011, reason: "Permission denied" },
  { name: "an unknown task without alloc-node-exec", command: ["ls"], task: "nope", token: "write", code: 1011, reason: "task not found" },
  { name: "a doubled command", command: ["ls"], query: "command=[]", code: 1008, reason: 'parameter "command" is given more than once' },
]; // biome-ignore format: a table
for (const refusal of refusals)
  test(`${refusal.name} is refused by close ${refusal.code}`, async () => {
    const { code, reason, frames } = await exec(door.port, refusal);
    assert.deepEqual(
      { code, reason, frames },
      { code: refusal.code, reason: refusal.reason, frames: [] },
    );
  });

test("an executable text file is refused and not given to a shell", async () => {
  const file = path.join(door.directory, "text");
  await writeFile(file, "echo run by a shell\n");
  await chmod(file, 0o755);
  for (const tty of ["false", "true"]) {
    const { code, reason, frames } = await exec(door.port, { command: [file], tty });
    assert.deepEqual(
      { code, reason, frames },
      {
        code: 1011,
        reason: `rpc error: code = Unknown desc = failed to start command: fork/exec ${file}: exec format error`,
        frames: [],
      },
    );
  }
});

test("an upper-case id finds its allocation", async () => {
  const { frames } = await exec(door.port, { command: ["true"], id: allocationId.toUpperCase() });
  assert.equal(frames.at(-1), goodEnd);
});

const badFrames: readonly { name: string; frame: string; reason: string }[] = [
  { name: "no JSON", frame: "hello", reason: "invalid character 'h' looking for beginning of value" },
  { name: "bad base64", frame: '{"stdin":{"data":"***"}}', reason: "illegal base64 data at input byte 0" },
  { name: "a number as data", frame: '{"stdin":{"data":5}}', reason: "json: cannot unmarshal number into Go struct field ExecTaskStreamingIOOperation.stdin.data of type []uint8" },
  { name: "a size of strings", frame: '{"tty_size":{"height":"x"}}', reason: "json: cannot unmarshal string into Go struct field ExecTaskStreamingRequest_TerminalSize.tty_size.height of type i" },
  { name: "an array", frame: "[]", reason: "json: cannot unmarshal array into Go value of type proto.ExecTaskStreamingRequest" },
]; // biome-ignore format: a table
for (const { name, frame, reason } of badFrames)
  test(`an input frame of ${name} ends the session at once and its command`, async () => {
    const client = await new ExecClient(door.port, {
      command: sh("echo $$; exec sleep 600"),
    }).opened();
    await client.saw("\n");
    const pid = Number(client.stdout);
    client.send(frame);
    const ended = await client.ended();
    assert.equal(ended.code, 1011);
    assert.ok(ended.reason.startsWith(reason), ended.reason);
    await eventually(() => !isAlive(pid), "the command's end");
  });

test("a terminal has its size, its resize and both streams in one", async () => {
  const client = await new ExecClient(door.port, {
    command: sh("stty size; echo err >&2; read x; stty size; tty >/dev/null && exit 3"),
    tty: "true",
  }).opened();
  await client.saw("24 80");
  await client.saw("err"); // the terminal echoes what is typed between them
  client.send({ tty_size: { height: 50, width: 132 } });
  client.input("\n");
  const ended = await client.ended();
  assert.match(ended.stdout.toString(), /24 80\r\nerr\r\n/);
  assert.match(ended.stdout.toString(), /50 132\r\n/);
  assert.equal(ended.stderr.length, 0);
  assert.equal(ended.frames.at(-2), '{"stdout":{"close":true}}');
  assert.equal(ended.frames.at(-1), '{"exited":true,"result":{"exit_code":3}}');
});

test("Ctrl-C on the terminal interrupts a job and leaves the shell", async () => {
  const client = await new ExecClient(door.port, { command: ["/bin/sh"], tty: "1" }).opened();
  client.input(`sh -c 'echo st""art; exec sleep 600'\n`); // the job says so itself: a shell that is starting one may miss the signal
  await client.saw("start\r\n");
  client.input("\x03");
  client.input("exit 5\n");
  const ended = await client.ended();
  assert.equal(ended.frames.at(-1), '{"exited":true,"result":{"exit_code":5}}');
});

for (const typed of ["line\n", "half a line"])
  test(`closing stdin of a terminal after ${JSON.stringify(typed)} is end of input`, async () => {
    const client = await new ExecClient(door.port, { command: ["cat"], tty: "true" }).opened();
    client.input(typed);
    await client.saw(typed.trim());
    client.closeInput();
    const ended = await client.ended();
    assert.equal(ended.frames.at(-1), goodEnd);
    assert.equal(ended.code, 1000);
  });

for (const tty of ["false", "true"])
  test(`a command started beside an open terminal holds nothing of it: tty=${tty}`, async () => {
    const terminal = await new ExecClient(door.port, { command: ["cat"], tty: "true" }).opened();
    terminal.input("x\n");
    await terminal.saw("x");
    const { stdout } = await exec(door.port, { command: sh("ls -l /proc/$$/fd"), tty });
    assert.match(stdout.toString(), /0 -> /);
    assert.doesNotMatch(stdout.toString(), /ptmx/);
    if (tty === "false") assert.doesNotMatch(stdout.toString(), /pts/);
    terminal.closeInput();
    assert.equal((await terminal.ended()).code, 1000);
  });

test("many short commands, ten at a time, each end with their frame and close 1000", async () => {
  const endings: string[] = [];
  const worker = async (tty: string): Promise<void> => {
    for (let count = 0; count < 10; count++) {
      const { frames, code } = await exec(door.port, { command: sh("echo x; exit 9"), tty });
      endings.push(`${frames.at(-1)} ${code}`);
    }
  };
  await Promise.all(Array.from({ length: 10 }, (_none, index) => worker(String(index % 2 === 0))));
  assert.deepEqual(
    [endings.length, ...new Set(endings)],
    [100, '{"exited":true,"result":{"exit_code":9}} 1000'],
  );
});

test("all output of a terminal arrives though the program closes its streams before it exits", async () => {
  const { stdout, frames } = await exec(door.port, {
    command: sh("stty -opost; head -c 2000000 /dev/zero; exec <&- >&- 2>&-; exit 3"),
    tty: "true",
  });
  assert.equal(stdout.length, 2_000_000);
  assert.equal(frames.at(-1), '{"exited":true,"result":{"exit_code":3}}');
});

test("100 MB of output arrive whole before the exit frame", async () => {
  const bytes = 100 * 1024 * 1024;
  const client = new ExecClient(door.port, { command: sh(`head -c ${bytes} /dev/zero; exit 4`) });
  const hash = createHash("sha256");
  let received = 0;
  let last = "";
  client.socket.removeAllListeners("message");
  client.socket.on("message", (data) => {
    last = String(data);
    const encoded = /^\{"stdout":\{"data":"(.*)"\}\}$/.exec(last)?.[1];
    if (encoded === undefined) return;
    const chunk = Buffer.from(encoded, "base64");
    received += chunk.length;
    hash.update(chunk);
  });
  const { code } = await client.ended();
  assert.equal(received, bytes);
  assert.equal(hash.digest("hex"), createHash("sha256").update(Buffer.alloc(bytes)).digest("hex"));
  assert.equal(last, '{"exited":true,"result":{"exit_code":4}}');
  assert.equal(code, 1000);
});

test("50 MB of binary input arrive unchanged", async () => {
  const bytes = 50 * 1024 * 1024;
  const chunk = Buffer.alloc(512 * 1024);
  for (let at = 0; at < chunk.length; at++) chunk[at] = (at * 31 + (at >> 8)) & 0xff;
  const hash = createHash("sha256");
  const client = await new ExecClient(door.port, { command: ["sha256sum"] }).opened();
  for (let sent = 0; sent < bytes; sent += chunk.length) {
    hash.update(chunk);
    const frame = `{"stdin":{"data":"${chunk.toString("base64")}"}}`;
    await new Promise((resolve) => client.socket.send(frame, resolve));
  }
  client.closeInput();
  const ended = await client.ended();
  assert.equal(ended.stdout.toString(), `${hash.digest("hex")}  -\n`);
});

test("a terminal whose program reads nothing takes input without stopping the agent", async () => {
  const client = await new ExecClient(door.port, {
    command: sh("stty raw -echo; echo ready; exec sleep 600"),
    tty: "true",
  }).opened();
  await client.saw("ready");
  for (let count = 0; count < 20; count++) client.input(Buffer.alloc(64 * 1024, "x"));
  const { stdout } = await exec(door.port, { command: ["echo", "alive"] });
  assert.equal(stdout.toString(), "alive\n");
  client.socket.terminate();
  await eventually(() => door.server.live === 0, "the session's end");
});

for (const tty of ["false", "true"])
  test(`when the client goes, nothing of the command is left (tty=${tty})`, async () => {
    const client = await new ExecClient(door.port, {
      command: sh("trap '' HUP; (trap '' HUP; sleep 600) & echo $$ $! end; wait"),
      tty,
    }).opened();
    await client.saw("end");
    const pids = client.stdout.trim().split(" ").slice(0, 2).map(Number);
    assert.ok(pids.every(isAlive));
    client.socket.terminate();
    await eventually(() => !pids.some(isAlive), "the end of the command and its child");
  });

for (const tty of ["false", "true"])
  test(`a command whose task ends while it is started is ended with it (tty=${tty})`, async () => {
    const ended = await exec(door.port, { command: ["sleep", "60"], task: "ending", tty });
    assert.deepEqual([ended.code, ended.reason], [1008, 'task "ending" is not running.']);
    const isLeft = (pid: number) => readEnvironment(pid)?.get("GREETING")?.includes(door.directory);
    await eventually(() => !processIds().some(isLeft), "the command's end");
  });

test("a command that does not lead its session yet is ended as well", async () => {
  const child = spawn("sleep", ["60"]); // as setsid is, before it makes the terminal its own
  const gone = once(child, "exit");
  await endSession(child.pid ?? 0, 0);
  assert.match(String((await gone)[1]), /^SIG(?:HUP|KILL)$/);
});

test("a client that closes before the end gets its close answered and its command ended", async () => {
  const client = await new ExecClient(door.port, {
    command: sh("echo $$; exec sleep 600"),
  }).opened();
  await client.saw("\n");
  const pid = Number(client.stdout);
  client.socket.close(1000);
  assert.equal((await client.ended()).code, 1000);
  await eventually(() => !isAlive(pid), "the command's end");
});

test("a background child that keeps the pipes open does not hold the end", async () => {
  const client = new ExecClient(door.port, { command: sh("sleep 600 & echo $!; exit 6") });
  const ended = await client.ended();
  assert.equal(ended.frames.at(-1), '{"exited":true,"result":{"exit_code":6}}');
  const pid = Number(ended.stdout);
  assert.ok(isAlive(pid), "it was started on purpose and lives on");
  process.kill(pid, "SIGKILL");
});

test("output that a child of the command writes just after its end still arrives", async () => {
  const { stdout, frames } = await exec(door.port, {
    command: sh("(sleep 0.3; echo late) & exit 0"),
  });
  assert.equal(stdout.toString(), "late\n");
  assert.equal(frames.at(-1), goodEnd);
});

test("pings are answered while the command is silent", async () => {
  const client = await new ExecClient(door.port, { command: ["cat"] }).opened();
  client.socket.ping("abc");
  const [payload] = await once(client.socket, "pong");
  assert.equal(String(payload), "abc");
  client.closeInput();
  await client.ended();
});

test("a client that is gone without a word is found out by its silence, and its command ended", async () => {
  await using watchful = await testDoor({ pingMs: 50 });
  const command = sh("echo $$; exec sleep 1000");
  const gone = await new ExecClient(watchful.port, { command }).opened();
  const there = await new ExecClient(watchful.port, { command }).opened();
  await Promise.all([gone.saw("\n"), there.saw("\n")]);
  const [lost, kept] = [gone, there].map(({ stdout }) => Number(stdout));
  assert.ok(lost && kept);
  gone.socket.pause(); // its connection stands, and nothing answers on it
  await eventually(() => !isAlive(lost), "the end of the command");
  assert.ok(isAlive(kept));
  gone.socket.terminate();
  there.socket.terminate();
  await eventually(() => !isAlive(kept), "the end of the other");
});

test("a reader that comes late to its ping, behind much output, is not taken for one that has gone", async () => {
  await using watchful = await testDoor({ pingMs: 200 });
  const client = await new ExecClient(watchful.port, {
    command: sh("echo; exec head -c 10000000 /dev/zero"),
  }).opened();
  await client.saw("\n");
  client.socket.pause();
  await wait(1_000);
  client.socket.resume();
  const { code, stdout } = await client.ended();
  assert.deepEqual([stdout.length, code], [10_000_001, 1000]);
});

test("a reader that stands still holds the command back and is given up", async () => {
  await using slow = await testDoor({ stalledAfterMs: 300 });
  const client = await new ExecClient(slow.port, {
    command: sh("echo $$; exec cat /dev/zero"),
  }).opened();
  await client.saw("\n");
  const pid = Number(client.stdout.split("\n", 1)[0]);
  client.socket.pause();
  await eventually(() => !isAlive(pid), "the end of the command");
  assert.ok(process.memoryUsage().external < 512 * 1024 * 1024);
  client.socket.terminate();
});

test("a reader that is behind when the command ends gets all of it and the exit frame", async () => {
  const client = new ExecClient(door.port, {
    command: sh("echo $$; exec head -c 8000000 /dev/zero"),
  });
  await client.saw("\n");
  const pid = Number(client.stdout.split("\n", 1)[0]);
  const { socket } = client;
  const slowly = setInterval(() => socket.resume(), 5);
  socket.on("message", () => socket.pause());
  await eventually(() => !isAlive(pid), "the end of the command");
  clearInterval(slowly);
  socket.removeAllListeners("message");
  await wait(farewell.closeTimeout + 500); // longer than a close waits for its answer
  let last = "";
  socket.on("message", (data) => {
    last = String(data);
  });
  socket.resume();
  const { code } = await client.ended();
  assert.deepEqual([last, code], [goodEnd, 1000]);
});

test("above its limit of sessions the agent says so", async () => {
  await using small = await testDoor({ maxSessions: 1 });
  const first = await new ExecClient(small.port, { command: ["cat"] }).opened();
  first.input("x");
  await first.saw("x");
  const second = await exec(small.port, { command: ["cat"] });
  assert.equal(second.code, 1013);
  first.closeInput();
  assert.equal((await first.ended()).code, 1000);
});

test("closing the agent tells a session so and ends its command", async () => {
  const closing = await testDoor();
  const client = await new ExecClient(closing.port, {
    command: sh("echo $$; exec sleep 600"),
  }).opened();
  await client.saw("\n");
  const pid = Number(client.stdout);
  await closing[Symbol.asyncDispose]();
  assert.equal((await client.ended()).code, 1012);
  assert.equal(isAlive(pid), false);
});
