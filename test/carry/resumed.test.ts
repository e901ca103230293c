/** Logs that go on, from agents of Nomad's, which know no tokens: no byte lost or doubled, whatever is rotated meanwhile. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, test } from "node:test";
import { request } from "undici";
import { type FaultyAgent, faultyAgent, type Script } from "../support/faulty-agent.ts";
import { get, rawRequest } from "../support/raw-client.ts";
import { allocationId, eventually, type Front, front, nodeAt } from "./front.ts";
import { NomadLog } from "./nomad-log.ts";

const sha = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

interface Frame {
  readonly Data?: string;
  readonly File?: string;
  readonly Resume?: string;
  readonly Lost?: string;
}

interface Viewer extends Disposable {
  readonly status: number;
  readonly token: string;
  readonly type: string;
  /** All of the body so far. */
  readonly text: () => string;
  readonly bytes: () => Buffer;
  readonly ended: () => "whole" | "cut" | undefined;
}

const gateBefore = ({ address }: FaultyAgent): Promise<Front> =>
  front({ route: "fs.logs", node: nodeAt(address), agents: "nomad" });

const logsPath = (query: string, type = "stdout"): string =>
  `/v1/client/fs/logs/${allocationId}?task=web&type=${type}&${query}`;

const view = async (gate: Front, query: string, type = "stdout"): Promise<Viewer> => {
  const url = `http://127.0.0.1:${gate.port}${logsPath(query, type)}`;
  const { statusCode, headers, body } = await request(url);
  const chunks: Buffer[] = [];
  let ended: "whole" | "cut" | undefined;
  body.on("data", (chunk: Buffer) => chunks.push(chunk));
  body.on("error", () => (ended ??= "cut"));
  body.on("end", () => (ended ??= "whole"));
  const bytes = (): Buffer => Buffer.concat(chunks);
  return {
    status: statusCode,
    token: String(headers["x-serai-resume"] ?? ""),
    type: String(headers["content-type"]),
    bytes,
    text: () => bytes().toString(),
    ended: () => ended,
    [Symbol.dispose]: () => void body.destroy(),
  };
};

/** Whole frames; what is not whole is left out. */
const framesIn = (text: string): readonly Frame[] =>
  text
    .split(/(?<=\})(?=\{)/)
    .filter((one) => one.endsWith("}"))
    .map((one) => JSON.parse(one));
const dataIn = (frames: readonly Frame[]): Buffer =>
  Buffer.concat(frames.map(({ Data: data = "" }) => Buffer.from(data, "base64")));

const refusal = async (gate: Front, query: string): Promise<string> => {
  using viewer = await view(gate, query);
  await eventually(viewer.ended, "whole");
  return `${viewer.status} ${viewer.text()}`;
};

const operations = (requests: readonly string[]): readonly string[] =>
  requests.map((head) => head.split("/")[4]?.split(" ")[0] ?? "");
const offsets = (requests: readonly string[]): readonly string[] =>
  requests.flatMap((head) => /[?&]offset=(\d+)/.exec(head)?.[1] ?? []);

test("resume=true gives a token in the head and behind the frames, and leaves Nomad's frames as they are", async () => {
  const log = new NomadLog();
  log.write(Buffer.from("one\n"));
  log.rotate(9);
  log.write(Buffer.from("two\n"));
  await using agent = await faultyAgent(log.script);
  await using gate = await gateBefore(agent);
  using viewer = await view(gate, "follow=true&resume=true");
  assert.equal(viewer.type, "application/json");
  await eventually(() => framesIn(viewer.text()).length, 5);
  assert.deepEqual(operations(agent.requests), ["ls", "logs", "ls"]);
  const [beat, one, first, two, second] = framesIn(viewer.text());
  assert.deepEqual(beat, {});
  assert.deepEqual(one, { Data: "b25lCg==", File: "alloc/logs/web.stdout.0", Offset: 4 });
  assert.deepEqual(two, { Data: "dHdvCg==", File: "alloc/logs/web.stdout.1", Offset: 4 });
  using again = await view(gate, `follow=true&plain=true&resume=${viewer.token}`);
  await eventually(again.text, "one\ntwo\n");
  assert.equal(again.type, "text/plain");
  using later = await view(gate, `follow=true&plain=true&resume=${first?.Resume}`);
  await eventually(later.text, "two\n");
  using last = await view(gate, `follow=true&plain=true&resume=${second?.Resume}`);
  log.write(Buffer.from("three\n"));
  await eventually(last.text, "three\n");
});

test("the place asked for is Nomad's: from either end, and the beginning of the newest file", async () => {
  const log = new NomadLog();
  for (const text of ["0123", "4567", "89ab"]) {
    log.write(Buffer.from(text));
    log.rotate(9);
  }
  log.write(Buffer.from("cdef"));
  await using agent = await faultyAgent(log.script);
  await using gate = await gateBefore(agent);
  for (const [query, wanted] of [
    ["offset=6", "6789abcdef"], ["origin=end&offset=6", "abcdef"], ["origin=end", "cdef"], ["offset=99", ""],
  ]) // biome-ignore format: a table
    for (const plain of ["true", "false"]) {
      using viewer = await view(gate, `resume=true&plain=${plain}&${query}`);
      await eventually(viewer.ended, "whole");
      const got = plain === "true" ? viewer.bytes() : dataIn(framesIn(viewer.text()));
      assert.equal(got.toString(), wanted, `${query} plain=${plain}`);
    }
});

test("HEAD gives the token of the place, and lets the agent go", async () => {
  const log = new NomadLog();
  log.write(Buffer.from("0123"));
  await using agent = await faultyAgent(log.script);
  await using gate = await gateBefore(agent);
  const head = get(logsPath("follow=true&resume=true")).replace("GET", "HEAD");
  const { status, headers, body, end } = await rawRequest(gate.port, head);
  assert.deepEqual([status, body.length, end], [200, 0, "whole"]);
  const { error } = await gate.ended();
  assert.equal(error, undefined);
  await eventually(() => agent.open, 1); // that of its ls, kept for the next request
  using viewer = await view(gate, `plain=true&resume=${headers.get("x-serai-resume")}&skip=1`);
  await eventually(viewer.text, "123");
});

/** What a caller keeps of a log: its bytes, the last token, and how many came behind it. */
class Kept {
  readonly parts: Buffer[] = [];
  #token = "true";
  #since = 0;

  get query(): string {
    const skip = this.#token !== "true" && this.#since > 0 ? `&skip=${this.#since}` : "";
    return `follow=true&resume=${this.#token}${skip}`;
  }
  #mark(token: string): void {
    this.#token = token;
    this.#since = 0;
  }
  #keep(bytes: Buffer): void {
    this.parts.push(bytes);
    this.#since += bytes.length;
  }
  take(viewer: Viewer, plain: boolean): void {
    this.#mark(viewer.token);
    if (plain) this.#keep(viewer.bytes());
    else
      for (const { Data: data, Resume: token } of framesIn(viewer.text())) {
        if (data !== undefined) this.#keep(Buffer.from(data, "base64"));
        if (token !== undefined) this.#mark(token);
      }
  }
  get bytes(): Buffer {
    return Buffer.concat(this.parts);
  }
}

for (const plain of [true, false])
  test(`a log cut at any place, over rotations and by gateways started anew, has its own hash (plain=${plain})`, async () => {
    const log = new NomadLog();
    log.pieceBytes = 7_001; // frames come in pieces, and pieces of several
    await using agent = await faultyAgent(log.script);
    const kept = new Kept();
    const all: Buffer[] = [];
    for (let round = 0; round < 24; round++) {
      await using gate = await gateBefore(agent);
      using viewer = await view(gate, `${kept.query}&plain=${plain}`);
      for (let n = 0; n < 6; n++) {
        const bytes = Buffer.alloc((round * 7_919 + n * 13_007) % 90_001, `${round}.${n}\n`);
        all.push(bytes);
        log.write(bytes);
        if ((round + n) % 5 === 0) log.rotate(12);
      }
      const least = all.reduce((sum, { length }) => sum + length, 0) - 40_000 * (round % 3);
      const have = kept.bytes.length;
      const came = (): number =>
        plain ? viewer.bytes().length : dataIn(framesIn(viewer.text())).length;
      await eventually(() => have + came() >= least, true);
      kept.take(viewer, plain);
    }
    await using gate = await gateBefore(agent);
    using viewer = await view(gate, `${kept.query.replace("follow=true", "follow=false")}&plain=${plain}`);
    await eventually(viewer.ended, "whole");
    kept.take(viewer, plain);
    assert.equal(kept.bytes.length, Buffer.concat(all).length);
    assert.equal(sha(kept.bytes), sha(Buffer.concat(all)));
  }); // biome-ignore format: a long line

describe("while the place is looked up", () => {
  const filled = (files: number): NomadLog => {
    const log = new NomadLog();
    for (let n = 0; n < files; n++) {
      log.write(Buffer.from(`file ${n}\n`.repeat(n + 1)));
      log.rotate(99);
    }
    return log;
  };
  const tokenAt = async (gate: Front, offset: number): Promise<string> => {
    using viewer = await view(gate, `resume=true&offset=${offset}`);
    return viewer.token;
  };
  /** Behind one line of file 4. */
  const within = (1 + 2 + 3 + 4 + 1) * 7;
  const rest = `${"file 4\n".repeat(4)}${"file 5\n".repeat(6)}`;

  test("files before it are pruned: it is looked up anew, before a byte goes out", async () => {
    const log = filled(6);
    await using agent = await faultyAgent(log.script);
    await using gate = await gateBefore(agent);
    const token = await tokenAt(gate, within);
    const before = agent.requests.length;
    let kept = 7;
    log.heard = (operation) => {
      if (operation === "logs" && kept > 4) log.prune(--kept);
    };
    using viewer = await view(gate, `plain=true&resume=${token}`);
    await eventually(viewer.ended, "whole");
    assert.equal(viewer.text(), rest);
    const made = agent.requests.slice(before);
    assert.deepEqual(operations(made), ["ls", "logs", "ls", "logs", "ls", "logs", "ls", "logs", "ls"]);
    assert.deepEqual(offsets(made), ["77", "70", "56", "35"]);
  }); // biome-ignore format: a long line

  test("its own file is pruned: 410 says from where on the log is lost", async () => {
    const log = filled(6);
    await using agent = await faultyAgent(log.script);
    await using gate = await gateBefore(agent);
    const token = await tokenAt(gate, within);
    log.heard = (operation) => {
      if (operation === "logs") log.prune(2);
    };
    for (const plain of ["true", "false"])
      assert.equal(
        await refusal(gate, `follow=true&plain=${plain}&resume=${token}`),
        "410 the log is lost from byte 7 of alloc/logs/web.stdout.4 on: it was rotated away or replaced, the oldest file is web.stdout.5; begin anew with resume=true",
      );
  });

  test("it shifts again and again: a refusal, not a guess", async () => {
    const log = filled(20);
    await using agent = await faultyAgent(log.script);
    await using gate = await gateBefore(agent);
    const token = await tokenAt(gate, (1 + 19) * 19 * 3.5 + 7);
    let kept = 21;
    log.heard = (operation) => {
      if (operation === "logs") log.prune(--kept);
    };
    assert.match(await refusal(gate, `resume=${token}`), /^502 .*rotated faster than a place/);
  });

  test("it is the end of a log that is rotated then: what comes next is all there is", async () => {
    const log = new NomadLog();
    log.write(Buffer.from("before"));
    await using agent = await faultyAgent(log.script);
    await using gate = await gateBefore(agent);
    const token = await tokenAt(gate, 6);
    using viewer = await view(gate, `follow=true&plain=true&resume=${token}`);
    log.rotate(1);
    log.write(Buffer.from("after"));
    await eventually(viewer.text, "after");
  });
});

test("skip counts behind the token's place; what was never there is refused", async () => {
  const log = new NomadLog();
  log.write(Buffer.from("0123456789"));
  await using agent = await faultyAgent(log.script);
  await using gate = await gateBefore(agent);
  using viewer = await view(gate, "resume=true&plain=true");
  using rest = await view(gate, `resume=${viewer.token}&plain=true&skip=4`);
  await eventually(rest.text, "456789");
  assert.match(await refusal(gate, `resume=${viewer.token}&skip=11`), /^400 skip: the log has no 11/);
  assert.match(await refusal(gate, "resume=abc"), /^400 resume: this is no token of serai's/);
  using other = await view(gate, "resume=true", "stderr");
  assert.match(
    await refusal(gate, `resume=${other.token}`),
    /^400 resume: this token is of another log/,
  );
}); // biome-ignore format: long lines

test("a file that was passed over is told in a frame, and cuts a plain reader", async () => {
  const log = new NomadLog();
  log.write(Buffer.from("one"));
  await using agent = await faultyAgent(log.script);
  await using gate = await gateBefore(agent);
  using framed = await view(gate, "follow=true&resume=true");
  using plain = await view(gate, "follow=true&plain=true&resume=true");
  await eventually(plain.text, "one");
  log.files.push({ index: 3, writes: [Buffer.from("two")] });
  log.flush();
  await eventually(() => dataIn(framesIn(framed.text())).toString(), "onetwo");
  const told = framesIn(framed.text()).flatMap(({ Lost: lost = [] }) => lost);
  assert.deepEqual(told, ["alloc/logs/web.stdout.1 to 2"]);
  await eventually(plain.ended, "cut");
  assert.equal(plain.text(), "one");
});

test("what the agent refuses is passed on; who may not list the files is told what is missing", async () => {
  const log = new NomadLog();
  await using agent = await faultyAgent(log.script);
  await using gate = await gateBefore(agent);
  for (const query of ["until=dead", "await=start"])
    assert.match(
      await refusal(gate, `follow=true&${query}`),
      /^400 until and await are not for .* Nomad's own/,
    );
  assert.equal(agent.requests.length, 0);
  log.lsRefusal = "Permission denied";
  assert.equal(
    await refusal(gate, "resume=true"),
    "403 Permission denied: resume needs read-fs at a Nomad agent, to list the files of the log",
  );
  log.lsRefusal = undefined;
  log.files.length = 0;
  assert.equal(
    await refusal(gate, "resume=true"),
    '404 task "web" not started yet. No logs available',
  );
});

const saying =
  (body: string): Script =>
  ({ socket, head }) => {
    const list = '[{"Name":"web.stdout.1","IsDir":false,"Size":0}]';
    if (head.includes("/ls/"))
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${list.length}\r\n\r\n${list}`);
    else socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  };
const frame = (more: object): string =>
  JSON.stringify({ Data: "eA==", File: "alloc/logs/web.stdout.1", Offset: 1, ...more });

for (const [name, body] of [
  ["words behind its frames", `${frame({})}failed to list entries`],
  ["half a frame", `${frame({})}{"Data":"e`],
  ["objects in objects", `{"Data":{}}`],
  ["no JSON", "{Data}"],
  ["a list", "[]"],
  ["a frame without end", `{"Data":"${"A".repeat(200_000)}`],
  ["another task's file", frame({ File: "alloc/logs/db.stdout.1" })],
  ["a file of nobody's", frame({ File: undefined })],
  ["an older file", frame({ File: "alloc/logs/web.stdout.0" })],
  ["another place of the file", frame({ Offset: 70 })],
  ["data that is no text", frame({ Data: 7 })],
] as const)
  test(`an agent that sends ${name} in a log that goes on is cut`, async () => {
    await using agent = await faultyAgent(saying(body));
    await using gate = await gateBefore(agent);
    using viewer = await view(gate, "resume=true");
    await eventually(viewer.ended, "cut");
    const { error } = await gate.ended();
    assert.equal(error?.code, "upstream_invalid");
  });

test("strings may hold braces, quotes and backslashes", async () => {
  const odd = { Note: '}{"\\' };
  await using agent = await faultyAgent(saying(`${frame(odd)}{}`));
  await using gate = await gateBefore(agent);
  using viewer = await view(gate, "resume=true&plain=true");
  await eventually(viewer.ended, "whole");
  assert.equal(viewer.text(), "x");
});
