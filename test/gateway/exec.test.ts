/** Exec over both hops: a real client, the gateway, an agent and real processes. */
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import { eventually, type Rig, startRig } from "../support/rig.ts";
import {
  clientFrame,
  closeIn,
  type ExecAsk,
  type ExecClient,
  execClient,
  execPath,
  rawUpgrade,
} from "../support/ws-client.ts";

let rig: Rig;
let allocation = "";
let token = "";
let port = 0;

const task = (name: string, script: string, more: object = {}) => ({
  name, command: "/bin/sh", args: ["-c", script], kill_timeout: "1s", ...more,
}); // biome-ignore format: a row

before(async () => {
  rig = await startRig({
    policies: {
      operator: { namespace: [{ "*": { policy: "write", capabilities: ["alloc-node-exec"] } }] },
      writer: { namespace: [{ "*": { policy: "write" } }] },
      reader: { namespace: [{ "*": { policy: "read", capabilities: ["read-logs", "read-fs"] } }] },
    },
    tokens: {
      operator: { policies: ["operator"] },
      writer: { policies: ["writer"] },
      reader: { policies: ["reader"] },
      none: {},
    },
    settings: { limits: { handshake: "400ms" } },
    agents: [
      {
        workloads: [
          {
            job: "shell", group: "main",
            tasks: [
              task("main", "sleep 1000", { env: { GREETING: "hello" } }),
              task("done", "true", { lifecycle: { hook: "prestart" } }),
              task("late", "true", { lifecycle: { hook: "poststop" } }),
            ],
          },
          { job: "over", type: "batch", group: "main", tasks: [task("main", "true")] },
        ], // biome-ignore format: a table
      },
    ],
  });
  allocation = rig.allocation("shell");
  token = rig.secret("operator");
  port = Number(new URL(rig.url).port);
  await eventually(
    "the main task runs",
    () =>
      rig.gateway.registry.allocation(allocation)?.TaskStates?.["main"]?.State === "running" ||
      undefined,
  );
});
after(async () => {
  await rig[Symbol.asyncDispose]();
});

const exec = (command: ExecAsk["command"], more: Partial<ExecAsk> = {}): ExecClient =>
  execClient({ url: rig.url, allocation, token, task: "main", command, ...more });
const shell = (script: string, more: Partial<ExecAsk> = {}): ExecClient =>
  exec(["/bin/sh", "-c", script], more);
const isAlive = (pid: number): boolean => existsSync(`/proc/${pid}`);

describe("a command without a terminal", () => {
  const cases: readonly (readonly [
    script: string,
    stdout: string,
    stderr: string,
    exitCode: number,
  ])[] = [
    ["echo out; echo err >&2", "out\n", "err\n", 0],
    ["printf a; printf b >&2; printf c; exit 7", "ac", "b", 7],
    ["kill -TERM $$", "", "", 143],
    ["kill -KILL $$", "", "", 137],
    ["echo $GREETING $NOMAD_TASK_NAME", "hello main\n", "", 0],
    ["exit 255", "", "", 255],
  ];
  for (const [script, stdout, stderr, exitCode] of cases)
    test(`${script}: its outputs apart, exit code ${exitCode}, then close 1000`, async () => {
      const client = shell(script);
      assert.deepEqual(await client.closed, { code: 1000, reason: "" });
      assert.equal(client.output("stdout").toString(), stdout);
      assert.equal(client.output("stderr").toString(), stderr);
      assert.equal(client.exitCode(), exitCode);
      assert.equal(client.frames.at(-1)?.["exited"], true, "the exit frame is the last");
    });

  test("input ends where the client ends it, and output goes on after", async () => {
    const client = shell("cat | wc -c; sleep 0.1; echo after", {
      first: [
        { stdin: { data: Buffer.from("12345").toString("base64") } },
        {},
        { stdin: { close: true } },
      ],
    });
    assert.equal((await client.closed).code, 1000);
    assert.match(client.output("stdout").toString(), /^\s*5\nafter\n$/);
    assert.equal(client.exitCode(), 0);
  });

  test("32 MB of output arrive byte for byte, then the exit frame, then close 1000", async () => {
    const size = 32_000_000;
    const line = Buffer.from("0123456789abcdefghijklmnopqrstuvwxyz\n");
    const block = Buffer.concat(Array.from({ length: 27_000 }, () => line));
    const expected = createHash("sha256");
    for (let left = size; left > 0; left -= block.length) expected.update(block.subarray(0, left));
    const client = shell(`yes 0123456789abcdefghijklmnopqrstuvwxyz | head -c ${size}; exit 3`, {
      keep: false,
    });
    assert.deepEqual(await client.closed, { code: 1000, reason: "" });
    assert.equal(client.stdoutBytes(), size);
    assert.equal(client.stdoutHash(), expected.digest("hex"));
    assert.equal(client.exitCode(), 3);
  });

  test("16 MB of binary input arrive unchanged", async () => {
    const input = randomBytes(16_000_000);
    const client = exec(["sha256sum"]);
    await client.opened;
    client.stdin(input);
    client.closeStdin();
    assert.equal((await client.closed).code, 1000);
    assert.equal(
      client.output("stdout").toString().split(" ")[0],
      createHash("sha256").update(input).digest("hex"),
    );
  });
});

describe("a terminal", () => {
  test("has the size that the client says, also after a storm of sizes", async () => {
    const client = exec(["/bin/sh"], { tty: true });
    await client.opened;
    client.stdin("echo rea''dy\n");
    await client.seen("ready");
    client.send({ tty_size: { height: 33, width: 111 } });
    client.stdin("stty size; echo fir''st\n");
    await client.seen("first");
    for (let at = 1; at <= 3_000; at++)
      client.send({ tty_size: { height: 10 + (at % 50), width: 20 + (at % 100) } });
    client.send({ tty_size: { height: 44, width: 99 } });
    client.stdin("stty size; exit 5\n");
    assert.deepEqual(await client.closed, { code: 1000, reason: "" });
    const text = client.output("stdout").toString();
    assert.match(text, /33 111/);
    assert.match(text, /44 99/);
    assert.equal(client.exitCode(), 5);
  });
});

describe("messages sent before anybody listens", () => {
  const frames = (
    count: number,
    bytes: number,
  ): { readonly sent: Buffer; readonly wire: Buffer } => {
    const parts = Array.from({ length: count }, (_, at) =>
      Buffer.from(`${String(at).padStart(bytes - 1, "0")}\n`),
    );
    const stdin = parts.map((part) =>
      clientFrame(0x81, Buffer.from(JSON.stringify({ stdin: { data: part.toString("base64") } }))),
    );
    return {
      sent: Buffer.concat(parts),
      wire: Buffer.concat([...stdin, clientFrame(0x81, Buffer.from('{"stdin":{"close":true}}'))]),
    };
  };
  const answerOf = async (path: string, header: string, behind: Buffer): Promise<Buffer> => {
    const socket = await rawUpgrade(port, path, header, behind);
    const chunks: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      if (chunk.includes(0x88) && closeIn(Buffer.concat(chunks))) socket.end();
    });
    await new Promise((resolve) => socket.once("close", resolve));
    return Buffer.concat(chunks);
  };
  const outputIn = (answer: Buffer): string =>
    [...answer.toString("latin1").matchAll(/\{"stdout":\{"data":"([^"]*)"/g)]
      .map(([, data = ""]) => Buffer.from(data, "base64").toString())
      .join("");
  const hello = (): Buffer =>
    clientFrame(0x81, Buffer.from(JSON.stringify({ version: 1, auth_token: token })));

  for (const [count, bytes] of [[1, 6], [300, 20], [3_000, 1_000]] as const) // biome-ignore format: one line
    for (const handshake of [false, true])
      test(`${count} of ${bytes} bytes in one write with the upgrade${handshake ? " and its token" : ""}: none lost, all in order`, async () => {
        const { sent, wire } = frames(count, bytes);
        const path = execPath({
          allocation,
          task: "main",
          command: ["cat"],
          query: handshake ? "&ws_handshake=true" : "",
        });
        const answer = await answerOf(
          path,
          handshake ? "" : token,
          handshake ? Buffer.concat([hello(), wire]) : wire,
        );
        assert.equal(outputIn(answer), sent.toString());
        assert.match(answer.toString("latin1"), /\{"exited":true,"result":\{\}\}/);
        assert.equal(closeIn(answer)?.code, 1000);
      });
});

describe("a token in the first message", () => {
  const open = (more: Partial<ExecAsk>): ExecClient =>
    shell("echo in", { token: undefined, query: "&ws_handshake=true", ...more });
  const rows: readonly (readonly [name: string, ask: () => Partial<ExecAsk>, code: number, reason: string | RegExp])[] = [
    ["lets its owner in", () => ({ first: [{ version: 1, auth_token: token }] }), 1000, ""],
    ["that says the same as the header", () => ({ token, first: [{ version: 1, auth_token: token }] }), 1000, ""],
    ["that contradicts the header", () => ({ token, first: [{ version: 1, auth_token: "x" }] }), 1008, "handshake auth token mismatched auth header token"],
    ["that is nobody's", () => ({ first: [{ version: 1, auth_token: "7d1b8b4e-0000-0000-0000-000000000000" }] }), 1011, "Permission denied"],
    ["that is empty", () => ({ first: [{ version: 1, auth_token: "" }] }), 1011, "Permission denied"],
    ["without its version", () => ({ first: [{ auth_token: token }] }), 1008, "unexpected handshake value: 0"],
    ["that is no JSON", () => ({ first: ["nonsense"] }), 1008, /^invalid character 'o' in literal null/],
    ["of 65 KiB", () => ({ first: [`{"version":1,"auth_token":"${"x".repeat(66_000)}"}`] }), 1009, /larger than 64 KiB/],
    ["of 2 MiB", () => ({ first: ["x".repeat(2_097_152)] }), 1009, "the message is larger than 1024 KiB (limits.exec_message)"],
    ["that does not come", () => ({}), 1008, /did not come in time/],
    ["asked for with a word", () => ({ query: "&ws_handshake=x" }), 1008, 'ws_handshake value is not a boolean: strconv.ParseBool: parsing "x": invalid syntax'],
  ]; // biome-ignore format: a table
  for (const [name, ask, code, reason] of rows)
    test(`${name}: close ${code}`, async () => {
      const client = open(ask());
      const closed = await client.closed;
      assert.equal(closed.code, code, closed.reason);
      if (typeof reason === "string") assert.equal(closed.reason, reason);
      else assert.match(closed.reason, reason);
      assert.equal(client.exitCode(), code === 1000 ? 0 : undefined);
    });
});

describe("refusals after the upgrade, in Nomad's order", () => {
  const unknown = "11111111-2222-3333-4444-555555555555";
  const rows: readonly (readonly [name: string, ask: () => Partial<ExecAsk>, code: number, reason: string])[] = [
    ["a command that is no JSON", () => ({ command: "x", token: "nobody's" }), 1011, "failed to marshal command into json: invalid character 'x' looking for beginning of value"],
    ["no command", () => ({ command: "" }), 1011, "failed to marshal command into json: unexpected end of JSON input"],
    ["a tty that is no bool", () => ({ tty: "x", token: "nobody's" }), 1011, 'tty value is not a boolean: strconv.ParseBool: parsing "x": invalid syntax'],
    ["a token that is nobody's", () => ({ token: "nobody's", allocation: unknown }), 1011, "Permission denied"],
    ["an id that is none", () => ({ allocation: "x" }), 1011, "alloc lookup failed: index error: UUID must be 36 characters"],
    ["an unknown allocation", () => ({ allocation: unknown, token: rig.secret("none") }), 1008, `Unknown allocation "${unknown}"`],
    ["a reader's token", () => ({ token: rig.secret("reader") }), 1011, "Permission denied"],
    ["no token", () => ({ token: undefined }), 1011, "Permission denied"],
    ["a token without alloc-node-exec", () => ({ token: rig.secret("writer") }), 1011, "Permission denied"],
    ["no task", () => ({ task: "" }), 1008, "must provide task name"],
    ["an empty command", () => ({ command: [] }), 1008, "command is not present"],
    ["an unknown task", () => ({ task: "x" }), 1011, "task not found"],
    ["a task that never started", () => ({ task: "late" }), 1008, 'task "late" not started yet.'],
    ["a task that is over", () => ({ task: "done" }), 1008, 'task "done" is not running.'],
    ["an allocation that is over", () => ({ allocation: rig.allocation("over") }), 1008, "exec not possible, client status of allocation ALLOC is complete"],
    ["a program that is not there", () => ({ command: ["/no/such/program"] }), 1011, "rpc error: code = Unknown desc = failed to start command: fork/exec /no/such/program: no such file or directory"],
  ]; // biome-ignore format: a table
  before(() => rig.until("over", "complete"));
  for (const [name, ask, code, reason] of rows)
    test(`${name}: close ${code}`, async () => {
      const client = shell("true", ask());
      const closed = await client.closed;
      assert.equal(closed.code, code, closed.reason);
      assert.equal(
        closed.reason,
        Buffer.from(reason.replace("ALLOC", rig.allocation("over")))
          .subarray(0, 123)
          .toString(),
      );
      assert.deepEqual(client.frames, []);
    });
});

describe("a viewer that vanishes", { concurrency: true }, () => {
  for (const [name, vanish] of [
    ["with a reset", (client: ExecClient) => client.wire().resetAndDestroy()],
    ["without a close frame", (client: ExecClient) => client.wire().destroy()],
    ["with close 1001", (client: ExecClient) => client.socket.close(1001)],
  ] as const) // biome-ignore format: a table
    for (const tty of [false, true])
      test(`${name}${tty ? ", on a terminal" : ""}: nothing of the command is left on the node`, async () => {
        const client = shell("sleep 1000 & echo pids $$ $! end; wait", { tty });
        await client.seen("end");
        const [, ...pids] = /pids (\d+) (\d+) end/.exec(client.output("stdout").toString()) ?? [];
        assert.equal(pids.length, 2);
        assert.ok(pids.every((pid) => isAlive(Number(pid))));
        vanish(client);
        await client.closed;
        await eventually(
          "both processes are gone",
          () => pids.every((pid) => !isAlive(Number(pid))) || undefined,
        );
      });
});

describe("an upgrade that is refused", { concurrency: true }, () => {
  const head = (line: string, ...more: readonly string[]): string =>
    [
      line,
      "Host: gate",
      `X-Nomad-Token: ${token}`,
      "Connection: Upgrade",
      "Upgrade: websocket",
      ...more,
      "",
      "",
    ].join("\r\n");
  const path = (): string => execPath({ allocation, task: "main", command: ["true"] });
  const key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==";
  const rows: readonly (readonly [name: string, request: () => string, status: number])[] = [
    ["another method", () => head(`POST ${path()} HTTP/1.1`, "Sec-WebSocket-Version: 13", key), 405],
    ["version 777", () => head(`GET ${path()} HTTP/1.1`, "Sec-WebSocket-Version: 777", key), 400],
    ["no key", () => head(`GET ${path()} HTTP/1.1`, "Sec-WebSocket-Version: 13"), 400],
    ["a foreign origin", () => head(`GET ${path()} HTTP/1.1`, "Sec-WebSocket-Version: 13", key, "Origin: https://evil.example"), 403],
    ["the origin null", () => head(`GET ${path()} HTTP/1.1`, "Sec-WebSocket-Version: 13", key, "Origin: null"), 403],
    ["a body", () => head(`GET ${path()} HTTP/1.1`, "Sec-WebSocket-Version: 13", key, "Transfer-Encoding: chunked"), 400],
  ]; // biome-ignore format: a table
  for (const [name, request, status] of rows)
    test(`for ${name} is told so, and its socket is let go though the caller keeps its half`, async () => {
      const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
      const chunks: Buffer[] = [];
      socket.on("data", (chunk: Buffer) => chunks.push(chunk));
      socket.write(request());
      await once(socket, "end");
      assert.match(Buffer.concat(chunks).toString(), new RegExp(`^HTTP/1\\.1 ${status} `));
      const more = setInterval(() => socket.write(`GET / HTTP/1.1\r\nHost: gate\r\n\r\n`), 20);
      await new Promise((resolve) => socket.once("error", resolve).once("close", resolve)); // reset: nobody is there
      clearInterval(more);
      socket.destroy();
      assert.equal(
        Buffer.concat(chunks).toString().split("HTTP/1.1 ").length,
        2,
        "a second request is not answered",
      );
    });
});

describe("many at once", () => {
  test("80 short commands: each exit frame comes before its close 1000", async () => {
    let left = 80;
    const one = async (): Promise<void> => {
      while (left-- > 0) {
        const code = left % 250;
        const client = shell(`echo ${left}; exit ${code}`);
        assert.deepEqual(await client.closed, { code: 1000, reason: "" });
        assert.equal(client.exitCode(), code);
      }
    };
    await Promise.all(Array.from({ length: 16 }, one));
  });
});

describe("frames that no client should send", () => {
  const headerOf = (...bytes: readonly number[]): Buffer => Buffer.from(bytes);
  const rows: readonly (readonly [name: string, bytes: Buffer, code: number])[] = [
    ["a reserved bit", clientFrame(0xc1, Buffer.from("{}")), 1002],
    ["a reserved opcode", clientFrame(0x83, Buffer.from("{}")), 1002],
    ["no mask", headerOf(0x81, 0x02, 0x7b, 0x7d), 1002],
    ["bad UTF-8", clientFrame(0x81, headerOf(0xc0, 0xaf)), 1007],
    ["a length of 2^63", headerOf(0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), 1009],
    ["a length of 2 MiB", headerOf(0x81, 0xff, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0), 1009],
    ["a long control frame", clientFrame(0x89, Buffer.alloc(126)), 1002],
    ["a fragmented control frame", clientFrame(0x09, Buffer.from("x")), 1002],
    ["a continuation of nothing", clientFrame(0x80, Buffer.from("x")), 1002],
    ["a new message inside another", Buffer.concat([clientFrame(0x01, Buffer.from("{")), clientFrame(0x81, Buffer.from("}"))]), 1002],
    ["a close with a code that is none", clientFrame(0x88, headerOf(0x03, 0xee)), 1002],
    ["a close of one byte", clientFrame(0x88, headerOf(0x03)), 1002],
    ["200 fragments of a message", Buffer.concat([clientFrame(0x01, Buffer.from("{")), ...Array.from({ length: 200 }, () => clientFrame(0x00, Buffer.from(" ")))]), 1008],
  ]; // biome-ignore format: a table

  const endOf = async (bytes: Buffer): Promise<Buffer> => {
    const socket = await rawUpgrade(
      port,
      execPath({ allocation, task: "main", command: ["cat"] }),
      token,
      bytes,
    );
    const chunks: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      if (closeIn(Buffer.concat(chunks))) socket.end();
    });
    await new Promise((resolve) => socket.once("close", resolve));
    return Buffer.concat(chunks);
  };

  for (const [name, bytes, code] of rows)
    test(`${name}: close ${code}`, async () => {
      assert.equal(closeIn(await endOf(bytes))?.code, code);
    });

  test("a message that is too long: the close says what the limit is and what sets it", async () => {
    const long = headerOf(0x81, 0xff, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0);
    const reason = "the message is larger than 1024 KiB (limits.exec_message)";
    assert.deepEqual(closeIn(await endOf(long)), { code: 1009, reason });
  });

  const tooLong = async (): Promise<number> => {
    const text = await (await fetch(`${rig.adminUrl}/metrics`)).text();
    return Number(/rate_limited_total\{limit="message"\} (\d+)/.exec(text)?.[1]);
  };
  for (const [where, more] of [
    ["in a session", {}],
    ["in place of the token", { token: undefined, query: "&ws_handshake=true" }],
  ] as const)
    test(`a message that is too long, ${where}, is counted as that: its caller has not left`, async () => {
      const before = await tooLong();
      const client = exec(["cat"], more);
      await client.opened;
      client.send("x".repeat(2_097_152));
      assert.equal((await client.closed).code, 1009);
      await eventually("counted", async () => (await tooLong()) > before || undefined);
      if (where === "in a session")
        await eventually("in the audit", () =>
          rig.audit().find(({ audit, code }) => audit === "end" && code === "message_too_large"),
        );
    });

  test("what is still sent of a message that is too long is read: its sender sees close 1009, no reset", async () => {
    const path = execPath({ allocation, task: "main", command: ["cat"] });
    const long = headerOf(0x81, 0xff, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0);
    const socket = await rawUpgrade(port, path, token, long);
    const errors: Error[] = [];
    socket.on("error", (error) => errors.push(error));
    let received = Buffer.alloc(0);
    while (closeIn(received)?.code !== 1009) {
      const [chunk] = await once(socket, "data");
      received = Buffer.concat([received, chunk]);
    }
    socket.end(Buffer.alloc(8 * 1024 * 1024));
    await once(socket, "close");
    assert.deepEqual(errors, []);
  });

  test("a million fragments of one byte: closed, and memory stays", async () => {
    const fragment = clientFrame(0x00, Buffer.from("x"));
    const many = Buffer.concat(Array.from({ length: 50_000 }, () => fragment));
    const before = process.memoryUsage().rss;
    const socket = await rawUpgrade(
      port,
      execPath({ allocation, task: "main", command: ["cat"] }),
      token,
      clientFrame(0x01, Buffer.from("{")),
    );
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.resume();
    for (let sent = 0; sent < 20 && !socket.destroyed; sent++)
      if (!socket.write(many))
        await Promise.race([closed, new Promise((resolve) => socket.once("drain", resolve))]);
    socket.end();
    await closed;
    assert.ok(process.memoryUsage().rss - before < 128 * 1024 * 1024);
  });

  test("after all that the gateway serves, and keeps no socket", async () => {
    const client = shell("echo still");
    assert.equal((await client.closed).code, 1000);
    assert.equal(client.output("stdout").toString(), "still\n");
  });
});
