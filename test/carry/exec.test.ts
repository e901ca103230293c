/** Exec: two real WebSockets and the ways a session ends. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { test } from "node:test";
import { type RawData, WebSocket } from "ws";
import { GatewayError } from "../../src/errors.ts";
import { faultyAgent, type Script } from "../support/faulty-agent.ts";
import { caller, type ExecAgent, execAgent, exitFrame, gateTo } from "./exec-agent.ts";
import { eventually, type Front, front, nodeAt, pathOf, secret } from "./front.ts";

const output = (text: string): string =>
  JSON.stringify({ stdout: { data: Buffer.from(text).toString("base64") } });

const settled = async (gate: Front): Promise<void> => {
  await eventually(() => gate.reach.stats.sockets, 0);
  await eventually(gate.connections, 0);
};

test("messages travel both ways as they are, and the exit code comes before close 1000", async () => {
  await using agent = await execAgent((socket) => {
    socket.on("message", (data: RawData, isBinary) => {
      socket.send(data, { binary: isBinary });
      if (String(data).includes("bye")) socket.send(exitFrame(7), () => socket.terminate());
    });
  });
  await using gate = await gateTo(agent.address);
  const { socket, messages, closed } = caller(gate);
  await once(socket, "open");
  socket.send('{"stdin":{"data":"aGk="}}');
  socket.send(Buffer.from("{}"), { binary: true });
  socket.send("bye");
  assert.deepEqual(await closed, { code: 1000, reason: "" });
  assert.deepEqual(messages, ['t:{"stdin":{"data":"aGk="}}', "b:{}", "t:bye", `t:${exitFrame(7)}`]);
  const { tally, error } = await gate.ended();
  assert.equal(error, undefined);
  assert.equal(tally.exitCode, 7);
  assert.equal(tally.bytesIn, 30);
  assert.equal(tally.bytesOut, 30 + exitFrame(7).length);
  const [request] = agent.requests;
  assert.equal(request?.headers["x-nomad-token"], secret);
  assert.equal(request?.headers.origin, undefined);
  assert.match(request?.url ?? "", /\/exec\?task=web&command=%5B%22true%22%5D&tty=true$/);
  await settled(gate);
});

test("an exit code left out is 0, and an agent that keeps the connection is closed", async () => {
  await using agent = await execAgent((socket) => socket.send(exitFrame(0)));
  await using gate = await gateTo(agent.address);
  const { closed } = caller(gate);
  assert.equal((await closed).code, 1000);
  assert.equal((await gate.ended()).tally.exitCode, 0);
  await settled(gate);
});

test("what looks like an exit frame inside output is output", async () => {
  await using agent = await execAgent((socket) => {
    socket.send('{"stdout":{"data":"","note":"\\"exited\\":true"}}');
    socket.send('{"exited":false}');
    socket.send(output("more"));
    socket.send(exitFrame(3));
  });
  await using gate = await gateTo(agent.address);
  const { closed, messages } = caller(gate);
  assert.equal((await closed).code, 1000);
  assert.equal(messages.length, 4);
  assert.equal((await gate.ended()).tally.exitCode, 3);
});

for (const { code, reason, gets, says } of [
  {
    code: 1008,
    reason: 'task "web" not started yet.',
    gets: 1008,
    says: 'task "web" not started yet.',
  },
  { code: 1011, reason: "task not found", gets: 1011, says: "task not found" },
  { code: 1008, reason: "rpc error: ACL token expired", gets: 1011, says: "Permission denied" },
  { code: 4001, reason: "own", gets: 4001, says: "own" },
  { code: 1000, reason: "", gets: 1000, says: "exit status unknown" },
  { code: undefined, reason: "", gets: 1000, says: "exit status unknown" },
])
  test(`the agent's close ${code} ${reason} is ${gets} ${says}`, async () => {
    await using agent = await execAgent((socket) => socket.close(code, reason));
    await using gate = await gateTo(agent.address);
    assert.deepEqual(await caller(gate).closed, { code: gets, reason: says });
    await settled(gate);
  });

test("an agent lost without an exit frame is 1011 with its name, after its last output", async () => {
  await using agent = await execAgent((socket) =>
    socket.send(output("last"), () => socket.terminate()),
  );
  await using gate = await gateTo(agent.address);
  const { closed, messages } = caller(gate);
  assert.deepEqual(await closed, {
    code: 1011,
    reason: "exit status unknown: node golden-3: connection lost",
  });
  assert.deepEqual(messages, [`t:${output("last")}`]);
  assert.equal((await gate.ended()).error?.code, "upstream_broke");
  await settled(gate);
});

test("the longest name a node may have is cut to what a close frame carries", async () => {
  await using agent = await execAgent((socket) => socket.terminate());
  const name = "ж".repeat(256);
  const node = nodeAt(agent.address, { name });
  await using gate = await front({ route: "alloc.exec", node });
  const { code, reason } = await caller(gate).closed;
  assert.equal(code, 1011);
  assert.equal(reason, `exit status unknown: node ${"ж".repeat(48)}`); // 122 bytes
  await settled(gate);
});

test("a caller that leaves takes the agent's socket with it", async () => {
  await using agent = await execAgent(() => undefined);
  await using gate = await gateTo(agent.address);
  const { socket } = caller(gate);
  await once(socket, "open");
  await eventually(() => agent.sockets.size, 1);
  socket.terminate();
  assert.equal((await gate.ended()).error?.code, "client_closed");
  await eventually(() => agent.sockets.size, 0);
  await settled(gate);
});

test("a caller that closes politely ends the agent's side at once", async () => {
  await using agent = await execAgent(() => undefined);
  await using gate = await gateTo(agent.address);
  const { socket, closed } = caller(gate);
  await once(socket, "open");
  await eventually(() => agent.sockets.size, 1);
  socket.close(1000);
  await closed;
  await eventually(() => agent.sockets.size, 0);
  await settled(gate);
});

for (const { error, close } of [
  { error: new GatewayError("draining"), close: 1012 },
  { error: new GatewayError("right_ended", { reason: "the token was revoked" }), close: 1008 },
])
  test(`an exchange ended from outside with ${error.code} closes with ${close}`, async () => {
    await using agent = await execAgent(() => undefined);
    await using gate = await gateTo(agent.address);
    const { socket, closed } = caller(gate);
    await once(socket, "open");
    await eventually(() => agent.sockets.size, 1);
    gate.exchanges[0]?.end(error);
    assert.deepEqual(await closed, { code: close, reason: error.words });
    assert.equal((await gate.ended()).error?.code, error.code);
    await eventually(() => agent.sockets.size, 0);
  });

test("messages sent before the agent's socket is open arrive in order", async () => {
  const got: string[] = [];
  await using agent = await execAgent((socket) => {
    socket.on("message", (data: RawData) => {
      got.push(String(data));
      if (got.length === 50) socket.send(exitFrame(0));
    });
  });
  await using gate = await gateTo(agent.address, { maxHeldBytes: 16 });
  const { socket, closed } = caller(gate);
  await once(socket, "open");
  for (let nth = 0; nth < 50; nth++) socket.send(`message ${nth}`);
  assert.equal((await closed).code, 1000);
  assert.deepEqual(
    got,
    Array.from({ length: 50 }, (_none, nth) => `message ${nth}`),
  );
});

test("a caller that does not read stops the agent, and gets all of it with the exit code once it reads", async () => {
  const message = "x".repeat(64 * 1024);
  const count = 400;
  let sent = 0;
  await using agent = await execAgent((socket) => {
    for (let nth = 0; nth < count; nth++)
      socket.send(message, () => {
        sent += 1;
      });
    socket.send(exitFrame(0));
  });
  await using gate = await gateTo(agent.address, { maxWaitingBytes: 128 * 1024 });
  const { socket, messages, closed } = caller(gate);
  await once(socket, "open");
  socket.pause();
  let before = -1;
  await eventually(async () => {
    const still = sent === before && sent > 0;
    before = sent;
    await new Promise((resolve) => setTimeout(resolve, 50));
    return still;
  }, true);
  assert.ok(sent < count, `the agent was stopped after ${sent} of ${count} messages`);
  socket.resume();
  assert.equal((await closed).code, 1000);
  assert.equal(messages.length, count + 1);
});

test("a caller that takes nothing for too long is ended", async () => {
  await using agent = await execAgent((socket) => {
    for (let nth = 0; nth < 400; nth++) socket.send("x".repeat(64 * 1024));
  });
  await using gate = await gateTo(agent.address, { stallMs: 300, maxWaitingBytes: 128 * 1024 });
  const { socket } = caller(gate);
  await once(socket, "open");
  socket.pause();
  assert.equal((await gate.ended()).error?.code, "client_too_slow");
  await eventually(() => agent.sockets.size, 0);
  socket.terminate();
  await settled(gate);
});

test("a caller that answers no ping is gone after two rounds; one that answers lives on", async () => {
  await using agent = await execAgent(() => undefined);
  await using gate = await gateTo(agent.address, { pingMs: 50 });
  const alive = caller(gate);
  await once(alive.socket, "open");
  const deaf = new WebSocket(`ws://127.0.0.1:${gate.port}${pathOf("alloc.exec")}`, {
    autoPong: false,
  });
  deaf.on("error", () => undefined);
  await once(deaf, "close");
  assert.equal((await gate.ended(1)).exchange, gate.exchanges[1]);
  assert.equal(alive.socket.readyState, WebSocket.OPEN);
  alive.socket.terminate();
  await settled(gate);
});

/** A relay to an agent that falls silent with its connection open, as when its node loses power. */
const silenced = (talk: (socket: WebSocket) => void): Promise<ExecAgent> =>
  execAgent((socket) => {
    talk(socket);
    socket.pause(); // reads no ping any more, and so answers none
  });

for (const input of [undefined, "{}"])
  test(`an agent that answers no ping is lost after two rounds, though its caller lives (input ${input})`, async () => {
    await using agent = await silenced(() => undefined);
    await using gate = await gateTo(agent.address, { pingMs: 50 });
    const { socket, closed } = caller(gate);
    await once(socket, "open");
    if (input !== undefined) socket.send(input);
    assert.deepEqual(await closed, {
      code: 1011,
      reason: "exit status unknown: node golden-3: it answered no ping",
    });
    const { error } = await gate.ended();
    assert.match(error?.words ?? "", /it answered no ping/);
    await settled(gate);
  });

test("an agent that waits until its command takes input has longer to answer a ping", async () => {
  let resume = (): void => undefined;
  await using agent = await silenced((socket) => {
    resume = () => {
      socket.resume();
      socket.send(exitFrame(0));
    };
  });
  await using gate = await gateTo(agent.address, { pingMs: 50 });
  const { socket, closed } = caller(gate);
  await once(socket, "open");
  socket.send(JSON.stringify({ stdin: { data: "eA==" } }));
  let rounds = 0;
  await new Promise<void>((resolve) => {
    socket.on("ping", () => {
      rounds += 1;
      if (rounds === 6) resolve();
    });
  });
  resume();
  assert.equal((await closed).code, 1000);
  assert.equal((await gate.ended()).tally.exitCode, 0);
  await settled(gate);
});

test("of two hundred short sessions each gets its exit code before close 1000", async () => {
  await using agent = await execAgent((socket) => {
    socket.send(output("out"));
    socket.send(exitFrame(4), () => socket.terminate());
  });
  await using gate = await gateTo(agent.address);
  for (let round = 0; round < 10; round++) {
    const callers = Array.from({ length: 20 }, () => caller(gate));
    for (const { closed, messages } of callers) {
      assert.equal((await closed).code, 1000);
      assert.deepEqual(messages, [`t:${output("out")}`, `t:${exitFrame(4)}`]);
    }
  }
  await settled(gate);
});

const accept = (head: string): string => {
  const key = /Sec-WebSocket-Key: (\S+)/i.exec(head)?.[1] ?? "";
  return createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
};
const upgrade = (acceptance: string): string =>
  `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptance}\r\n\r\n`;

const thenFrame =
  (bytes: readonly number[]): Script =>
  ({ socket, head }) => {
    socket.write(upgrade(accept(head)));
    socket.write(Buffer.from(bytes));
  };

const refusing =
  (status: string, text: string): Script =>
  ({ socket }) =>
    socket.write(`HTTP/1.1 ${status}\r\nContent-Length: ${text.length}\r\n\r\n${text}`);

const refusals: readonly { name: string; script: Script; code: number; reason: RegExp }[] = [
  { name: "200 to an upgrade", script: refusing("200 OK", "hello"), code: 1011, reason: /status 200 to an upgrade/ },
  { name: "403 to an upgrade", script: refusing("403 Forbidden", "no"), code: 1011, reason: /^Permission denied$/ },
  { name: "404 to an upgrade", script: refusing("404 Not Found", 'Unknown allocation "x"'), code: 1008, reason: /^Unknown allocation "x"$/ },
  { name: "500 to an upgrade", script: refusing("500 Oops", "it failed"), code: 1011, reason: /^it failed$/ },
  { name: "426 to an upgrade", script: refusing("426 Upgrade Required", "no"), code: 1011, reason: /status 426/ },
  { name: "a redirect to an upgrade", script: ({ socket }) => socket.write("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"), code: 1011, reason: /status 302/ },
  { name: "a refusal whose body never ends", script: ({ socket }) => socket.write("HTTP/1.1 403 X\r\nContent-Length: 9\r\n\r\nno"), code: 1011, reason: /^Permission denied$/ },
  { name: "a wrong Sec-WebSocket-Accept", script: ({ socket }) => socket.write(upgrade("AAAA")), code: 1011, reason: /not a proper upgrade/ },
  { name: "no answer to an upgrade", script: () => undefined, code: 1013, reason: /did not answer within 0.4 s/ },
  { name: "a connection closed before the answer", script: ({ socket }) => socket.end(), code: 1011, reason: /golden-3/ },
  { name: "101 then garbage", script: ({ socket, head }) => socket.write(`${upgrade(accept(head))}\xff\xff\xff garbage`, "latin1"), code: 1011, reason: /not a proper frame/ },
  { name: "101 then a frame of 2^63 bytes", script: thenFrame([0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0]), code: 1011, reason: /not a proper frame/ },
  { name: "101 then a masked frame", script: thenFrame([0x81, 0x81, 1, 2, 3, 4, 5]), code: 1011, reason: /not a proper frame/ },
  { name: "101 then reserved bits", script: thenFrame([0xf1, 1, 0x41]), code: 1011, reason: /not a proper frame/ },
  { name: "101 then text that is not UTF-8", script: thenFrame([0x81, 2, 0xc3, 0x28]), code: 1011, reason: /not a proper frame/ },
  { name: "101 then half a frame and the end", script: ({ socket, head }) => { socket.write(upgrade(accept(head))); socket.end(Buffer.from([0x81, 5, 0x41])); }, code: 1011, reason: /node golden-3: connection lost/ },
  { name: "101 then a close without a code", script: thenFrame([0x88, 0]), code: 1000, reason: /^exit status unknown$/ },
  { name: "101 then a million fragments", script: ({ socket, head }) => { socket.write(upgrade(accept(head))); socket.write(Buffer.concat([Buffer.from([0x01, 1, 0x41]), Buffer.alloc(300_000, Buffer.from([0x00, 1, 0x41]))])); }, code: 1011, reason: /not a proper frame/ },
]; // biome-ignore format: a table

for (const { name, script, code, reason } of refusals)
  test(`${name} is ${code} for the caller, and nothing more is sent to the agent`, {
    timeout: 20_000,
  }, async () => {
    await using agent = await faultyAgent(script);
    await using gate = await gateTo(agent.address, { handshakeMs: 400 });
    const { socket, closed } = caller(gate);
    await once(socket, "open");
    socket.send("secret input");
    const close = await closed;
    assert.equal(close.code, code);
    assert.match(close.reason, reason);
    await agent.idle();
    if (name.includes("to an upgrade")) assert.equal(agent.extraBytes, 0);
    assert.equal(agent.connections, 1);
    await settled(gate);
  });

test("a caller that leaves while the agent is silent on the upgrade ends the dial at once", async () => {
  await using agent = await faultyAgent(() => undefined);
  await using gate = await gateTo(agent.address);
  const { socket } = caller(gate);
  await once(socket, "open");
  await agent.request(1);
  socket.terminate();
  assert.equal((await gate.ended()).error?.code, "client_closed");
  await agent.idle();
  await settled(gate);
});
