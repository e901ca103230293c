/**
 * A terminal in a browser, as Nomad's own pages open it: a browser's WebSocket takes no headers, so the token comes in the
 * first message; the page sends `{}` to keep the connection, and its Origin is the gateway's own.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import WebSocket from "ws";
import { isJsonObject, type JsonObject, parseJson } from "../../src/lib/json.ts";
import { eventually, startRig } from "../support/rig.ts";

const workload = {
  job: "shop",
  group: "main",
  tasks: [{ name: "web", command: "/bin/sleep", args: ["600"] }],
};

const policies = {
  operator: { namespace: [{ "*": { policy: "write", capabilities: ["alloc-node-exec"] } }] },
};

const open = (): ReturnType<typeof startRig> =>
  startRig({
    policies,
    tokens: { operator: { policies: ["operator"] }, none: {} },
    agents: [{ workloads: [workload] }],
    settings: { http: { allowed_origins: ["https://ui.example.com"] } },
  });

interface Terminal {
  readonly socket: WebSocket;
  readonly screen: () => string;
  readonly frames: readonly JsonObject[];
  readonly closed: Promise<readonly [code: number, reason: string]>;
  send(frame: object): void;
  type(keys: string): void;
}

const terminal = (url: string, allocation: string, origin: string): Terminal => {
  const query = new URLSearchParams({
    task: "web",
    tty: "true",
    ws_handshake: "true",
    command: JSON.stringify(["/bin/sh"]),
  });
  const at = `${url.replace("http", "ws")}/v1/client/allocation/${allocation}/exec?${query}`;
  const socket = new WebSocket(at, { origin });
  const frames: JsonObject[] = [];
  let screen = "";
  socket.on("error", () => {}); // what it means is seen by its end
  socket.on("message", (data) => {
    const frame = parseJson(String(data));
    assert.ok(isJsonObject(frame));
    frames.push(frame);
    const { stdout } = frame;
    if (isJsonObject(stdout) && typeof stdout["data"] === "string")
      screen += Buffer.from(stdout["data"], "base64").toString();
  });
  const send = (frame: object): void => socket.send(JSON.stringify(frame));
  return {
    socket,
    frames,
    screen: () => screen,
    closed: new Promise((resolve) => {
      socket.on("close", (code, reason) => resolve([code, String(reason)]));
    }),
    send,
    type: (keys) => send({ stdin: { data: Buffer.from(keys).toString("base64") } }),
  };
};

test("a page of the gateway's own origin opens a shell, keeps it alive, resizes and leaves it", async () => {
  await using rig = await open();
  const page = terminal(rig.url, rig.allocation("shop"), rig.url);
  await once(page.socket, "open");
  page.send({ version: 1, auth_token: rig.secret("operator") });
  page.send({ tty_size: { height: 30, width: 90 } });
  for (let beat = 0; beat < 3; beat += 1) page.send({});
  page.type("PS1='ready> '; stty size\n");
  await eventually("the terminal has the page's size", () => /\b30 90\r\n/.test(page.screen()));
  page.send({ tty_size: { height: 40, width: 120 } });
  page.send({});
  page.type("stty size\n");
  await eventually("it follows the page's size", () => /\b40 120\r\n/.test(page.screen()));
  page.type("exit 4\n");
  assert.deepEqual(await page.closed, [1000, ""]);
  assert.deepEqual(page.frames.at(-1), { exited: true, result: { exit_code: 4 } });
});

test("a page of an origin that is allowed opens one too", async () => {
  await using rig = await open();
  const page = terminal(rig.url, rig.allocation("shop"), "https://ui.example.com");
  await once(page.socket, "open");
  page.send({ version: 1, auth_token: rig.secret("operator") });
  page.type("echo $((6 * 7))\nexit\n");
  assert.deepEqual(await page.closed, [1000, ""]);
  assert.match(page.screen(), /\b42\r\n/);
});

test("a page of another origin gets no connection, and a token without the right is closed as Nomad closes it", async () => {
  await using rig = await open();
  const stranger = terminal(rig.url, rig.allocation("shop"), "https://evil.example.com");
  const [, response] = await once(stranger.socket, "unexpected-response");
  assert.equal(response.statusCode, 403);
  stranger.socket.terminate();

  const none = terminal(rig.url, rig.allocation("shop"), rig.url);
  await once(none.socket, "open");
  none.send({ version: 1, auth_token: rig.secret("none") });
  assert.deepEqual(await none.closed, [1011, "Permission denied"]);
});
