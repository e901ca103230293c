/** Logs and followed files over the whole stack: nothing lost, nothing doubled, and a slow viewer hurts itself alone. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { loadServerConfig } from "../../src/config/load.ts";
import { createGateway, type Gateway } from "../../src/gateway.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { isJsonObject, type JsonObject, parseJson, stringifyJson } from "../../src/lib/json.ts";
import { get, parseAnswer, type RawClient, rawClient } from "../support/raw-client.ts";
import { eventually, type Reply, type Rig, startRig } from "../support/rig.ts";

const lineBytes = 64;
const fastLines = 100_000;
const rotatedLines = 40_000;

/** Numbered lines of one length, as fast as the pipe takes them; the log is rotated at each MiB. */
const writer = (lines: number, suffix: string): string =>
  `awk 'BEGIN { for (i = 1; i <= ${lines}; i++) printf "%0${lineBytes - 1}d\\n", i }'${suffix}`;
const wait = "while [ ! -e $NOMAD_ALLOC_DIR/data/go ]; do sleep 0.02; done;";
const expected = (lines: number): Buffer =>
  Buffer.from(
    Array.from(
      { length: lines },
      (_, at) => `${String(at + 1).padStart(lineBytes - 1, "0")}\n`,
    ).join(""),
  );
const sha = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

let rig: Rig;
let token = "";
let port = 0;

const task = (name: string, script: string, more: object = {}) => ({
  name, command: "/bin/sh", args: ["-c", script], kill_timeout: "1s", logs: { max_files: 20, max_file_size_mb: 1 }, ...more,
}); // biome-ignore format: a row
const job = (name: string, ...tasks: readonly object[]) => ({ job: name, group: "main", tasks });

before(async () => {
  const policy = { policy: "read", capabilities: ["read-logs", "read-fs", "gc-allocation"] };
  rig = await startRig({
    policies: { reader: { namespace: [{ "*": policy }] } },
    tokens: { reader: { policies: ["reader"] } },
    agents: [
      {
        workloads: [
          job("fast", task("main", `${wait} ${writer(fastLines, "; sleep 1000")}`)),
          job(
            "flood",
            task("main", `${wait} ${writer(fastLines * 5, "; sleep 1000")}`, {
              logs: { max_files: 50, max_file_size_mb: 1 },
            }),
          ),
          job(
            "rotated",
            task(
              "main",
              writer(
                rotatedLines,
                "; echo err >&2; touch $NOMAD_ALLOC_DIR/data/written; sleep 1000",
              ),
            ),
          ),
          job(
            "silent",
            task("main", "sleep 1000"),
            task("late", "echo late", { lifecycle: { hook: "poststop" } }),
          ),
          { ...job("over", task("main", "echo done")), type: "batch" },
        ],
      },
    ],
  });
  token = rig.secret("reader");
  port = Number(new URL(rig.url).port);
  await rig.until("over", "complete");
  await eventually(
    "all tasks run",
    () =>
      ["fast", "flood", "rotated", "silent"].every(
        (name) => rig.allocationsOf(name)[0]?.TaskStates?.["main"]?.State === "running",
      ) || undefined,
  );
});
after(async () => {
  await rig[Symbol.asyncDispose]();
});

const directory = (name: string): string =>
  path.join(rig.directory, "agent-1", "alloc", rig.allocation(name));
const logsPath = (name: string, query: string): string =>
  `/v1/client/fs/logs/${rig.allocation(name)}?${query}`;
const logs = (name: string, query: string): Promise<Reply> => rig.get(logsPath(name, query), token);
const follow = (target: string): RawClient =>
  rawClient(port, get(target, `X-Nomad-Token: ${token}\r\n`));

const framesIn = (body: Buffer): readonly JsonObject[] =>
  `${body.toString()}`
    .split(/(?<=\})(?=\{)/)
    .filter((text) => text.endsWith("}"))
    .map((text) => parseJson(text))
    .filter(isJsonObject);
const dataIn = (frames: readonly JsonObject[]): Buffer =>
  Buffer.concat(
    frames.map(({ Data: data }) => Buffer.from(typeof data === "string" ? data : "", "base64")),
  );

const bodyOf = (client: RawClient): Buffer => parseAnswer(client.received()).body;

describe("a log that is rotated while it is followed", () => {
  test("framed and plain viewers get every byte once and in order", async () => {
    const framed = follow(logsPath("fast", "task=main&type=stdout&follow=true&origin=start"));
    const plain = follow(logsPath("fast", "task=main&type=stdout&follow=true&plain=true"));
    await Promise.all([framed.seen("\r\n\r\n"), plain.seen("\r\n\r\n")]);
    writeFileSync(path.join(directory("fast"), "alloc", "data", "go"), "");
    const whole = expected(fastLines);
    const plainBody = await eventually("all of the plain log", () => {
      if (plain.socket.bytesRead < whole.length) return undefined;
      const body = bodyOf(plain);
      return body.length >= whole.length ? body : undefined;
    });
    assert.equal(sha(plainBody), sha(whole));
    const framedBody = await eventually("all of the framed log", () => {
      if (framed.socket.bytesRead < (whole.length * 4) / 3) return undefined;
      const data = dataIn(framesIn(bodyOf(framed)));
      return data.length >= whole.length ? data : undefined;
    });
    assert.equal(sha(framedBody), sha(whole));
    const files = new Set(
      framesIn(bodyOf(framed))
        .map(({ File: file }) => file)
        .filter((file) => file !== undefined),
    );
    assert.ok(files.size >= 6, [...files].join(", "));
    plain.socket.destroy();
    framed.socket.destroy();
  });
});

describe("where reading begins", () => {
  const sizes = (): readonly Buffer[] =>
    readdirSync(path.join(directory("rotated"), "alloc", "logs"))
      .filter((name) => name.startsWith("main.stdout."))
      .sort((one, other) => Number(one.split(".").at(-1)) - Number(other.split(".").at(-1)))
      .map((name) => readFileSync(path.join(directory("rotated"), "alloc", "logs", name)));

  test("origin and offset run over the files that are there, to the byte", async () => {
    const whole = expected(rotatedLines);
    await eventually("the log is written", () => {
      const files = sizes();
      return files.reduce((sum, { length }) => sum + length, 0) === whole.length
        ? files
        : undefined;
    });
    const files = sizes();
    assert.ok(files.length >= 3);
    const newest = files.at(-1) ?? Buffer.alloc(0);
    const oldest = files[0] ?? Buffer.alloc(0);
    const rows: readonly (readonly [query: string, from: number])[] = [
      ["origin=start", 0], ["", 0], ["origin=start&offset=1", 1], [`offset=${oldest.length - 1}`, oldest.length - 1],
      [`offset=${oldest.length}`, oldest.length], [`offset=${oldest.length + 5}`, oldest.length + 5], [`offset=${whole.length}`, whole.length],
      [`offset=${whole.length + 99}`, whole.length], ["origin=end", whole.length - newest.length], ["origin=end&offset=0", whole.length - newest.length],
      ["origin=end&offset=10", whole.length - 10], [`origin=end&offset=${newest.length + 7}`, whole.length - newest.length - 7],
      [`origin=end&offset=${whole.length * 2}`, 0],
    ]; // biome-ignore format: a table
    for (const [query, from] of rows) {
      const plain = await logs("rotated", `task=main&type=stdout&plain=true&${query}`);
      assert.equal(plain.status, 200, plain.text);
      assert.equal(plain.body.length, whole.length - from, query);
      assert.equal(sha(plain.body), sha(whole.subarray(from)), query);
      const framed = await logs("rotated", `task=main&type=stdout&${query}`);
      assert.equal(sha(dataIn(framesIn(framed.body))), sha(whole.subarray(from)), query);
    }
    assert.equal((await logs("rotated", "task=main&type=stderr&plain=true")).text, "err\n");
  });
});

describe("a log that says nothing", () => {
  for (const plain of [false, true])
    test(`has its head within a second${plain ? ", plain too" : ", and beats each second"}`, async () => {
      const started = performance.now();
      const client = follow(
        logsPath("silent", `task=main&type=stdout&follow=true${plain ? "&plain=true" : ""}`),
      );
      await client.seen("\r\n\r\n");
      const tookMs = performance.now() - started;
      assert.ok(tookMs < 1_000, `${tookMs} ms`);
      const { headers } = parseAnswer(client.received());
      assert.equal(headers.get("content-type"), plain ? "text/plain" : "application/json");
      assert.equal(headers.get("x-accel-buffering"), "no");
      assert.equal(headers.get("cache-control"), "no-store");
      if (!plain) {
        await eventually(
          "three beats",
          () => bodyOf(client).toString().split("{}").length > 3 || undefined,
        );
        const beatingMs = performance.now() - started;
        assert.ok(beatingMs > 1_800 && beatingMs < 10_000, `${beatingMs} ms`);
      } else assert.equal(bodyOf(client).length, 0);
      client.socket.destroy();
    });
});

describe("a followed file", () => {
  test("that is truncated or deleted says so in its frames, and ends in order", async () => {
    const file = path.join(directory("silent"), "alloc", "data", "followed");
    writeFileSync(file, "before the cut\n");
    const client = follow(
      `/v1/client/fs/stream/${rig.allocation("silent")}?path=alloc/data/followed`,
    );
    await client.seen(Buffer.from("before the cut\n").toString("base64"));
    truncateSync(file, 0);
    writeFileSync(file, "new\n");
    await client.seen(Buffer.from("new\n").toString("base64"));
    rmSync(file);
    const answer = await client.answer();
    assert.equal(answer.end, "whole");
    const frames = framesIn(answer.body).filter((frame) => Object.keys(frame).length > 0);
    assert.equal(dataIn(frames).toString(), "before the cut\nnew\n");
    assert.deepEqual(
      frames.flatMap(({ FileEvent: event }) => event ?? []),
      ["file truncated", "file deleted"],
    );
    assert.equal(frames.at(-1)?.["FileEvent"], "file deleted");
  });
});

describe("a viewer that stands still", () => {
  test("holds bounded bytes, and hurts no other viewer", async (context) => {
    const stalled = follow(logsPath("flood", "task=main&type=stdout&follow=true&plain=true"));
    await stalled.seen("\r\n\r\n");
    stalled.socket.pause();
    const viewer = await fetch(
      `${rig.url}${logsPath("flood", "task=main&type=stdout&follow=true&plain=true")}`,
      { headers: { "X-Nomad-Token": token } },
    );
    writeFileSync(path.join(directory("flood"), "alloc", "data", "go"), "");
    const size = fastLines * 5 * lineBytes;
    const hash = createHash("sha256");
    let seen = 0;
    assert.ok(viewer.body);
    for await (const chunk of viewer.body) {
      hash.update(chunk);
      seen += chunk.length;
      if (seen >= size) break;
    }
    assert.equal(seen, size);
    assert.equal(hash.digest("hex"), sha(expected(fastLines * 5)));
    stalled.socket.destroy();
    const bytes = await eventually("the stalled one's record", () =>
      rig
        .audit()
        .map((line) => line["bytes_out"] ?? line["bytesOut"])
        .find((count): count is number => typeof count === "number" && count > 0 && count < size),
    );
    context.diagnostic(`${bytes} of ${size} bytes were taken for the viewer that read nothing`);
    assert.ok(bytes < 16 * 1024 * 1024, `${bytes} bytes were taken for a viewer that read nothing`);
  });
});

describe("a followed log that broke", () => {
  interface Kept {
    readonly parts: Buffer[];
    token: string;
    since: number;
  }

  /** One piece more: by the gateway or, as after a restart of it, past it. */
  const piece = async (kept: Kept, nth: number, whole: number): Promise<void> => {
    const have = kept.parts.reduce((sum, { length }) => sum + length, 0);
    const query = `task=main&type=stdout&follow=true&resume=${kept.token}${kept.since > 0 ? `&skip=${kept.since}` : ""}`;
    const door = nth % 3 === 2 ? Number(new URL(rig.agent().url).port) : port;
    const target = get(logsPath("rotated", query), `X-Nomad-Token: ${token}\r\n`);
    const client = rawClient(door, target);
    await client.seen("\r\n\r\n");
    const enough = 1 + ((nth * 104_729) % 400_000);
    await eventually(
      "enough has come",
      () =>
        client.socket.bytesRead > enough ||
        dataIn(framesIn(bodyOf(client))).length + have === whole ||
        undefined,
    );
    client.socket.destroy();
    const { headers, body } = parseAnswer(client.received());
    kept.token = headers.get("x-serai-resume") ?? assert.fail("no token");
    kept.since = 0;
    for (const { Data: data, Resume: next } of framesIn(body)) {
      if (typeof data === "string") {
        const bytes = Buffer.from(data, "base64");
        kept.parts.push(bytes);
        kept.since += bytes.length;
      }
      if (typeof next !== "string") continue;
      kept.token = next;
      kept.since = 0;
    }
  };

  test("goes on by its tokens over rotated files and doors, to the byte", async () => {
    const whole = expected(rotatedLines);
    const kept: Kept = { parts: [], token: "true", since: 0 };
    for (let nth = 1; Buffer.concat(kept.parts).length < whole.length; nth++) {
      assert.ok(nth < 100, "each piece brings it on");
      await piece(kept, nth, whole.length);
    }
    assert.equal(sha(Buffer.concat(kept.parts)), sha(whole));
  });

  test("is refused by a token of another log, in words", async () => {
    const other = await logs("rotated", "task=main&type=stderr&resume=true");
    const reply = await logs(
      "rotated",
      `task=main&type=stdout&resume=${other.headers["x-serai-resume"]}`,
    );
    assert.equal(reply.status, 400);
    assert.match(reply.text, /^resume: this token is of another log/);
  });
});

describe("logs that are not there", () => {
  const rows: readonly (readonly [name: string, job: string, query: string, status: number, words: string])[] = [
    ["a task that has not started", "silent", "task=late&type=stdout", 404, 'task "late" not started yet. No logs available'],
    ["an unknown task", "silent", "task=x&type=stdout", 400, 'unknown task name "x"'],
    ["no task", "silent", "type=stdout", 400, "must provide task name"],
    ["an unknown type", "silent", "task=main&type=x", 400, "must provide log type (stdout/stderr)"],
    ["a bad follow", "silent", "task=main&type=stdout&follow=x", 400, 'failed to parse follow field to boolean: strconv.ParseBool: parsing "x": invalid syntax'],
    ["a bad offset", "silent", "task=main&type=stdout&offset=x", 400, 'error parsing offset: strconv.ParseInt: parsing "x": invalid syntax'],
    ["a bad origin", "silent", "task=main&type=stdout&origin=x", 400, "origin must be start or end"],
  ]; // biome-ignore format: a table
  for (const [name, of, query, status, words] of rows)
    test(`${name}: ${status}`, async () => {
      const reply = await logs(of, query);
      assert.equal(reply.status, status);
      assert.equal(reply.text, words);
    });

  test("an unknown allocation, and one that was collected: 404", async () => {
    const unknown = "11111111-2222-3333-4444-555555555555";
    const none = await rig.get(`/v1/client/fs/logs/${unknown}?task=main&type=stdout`, token);
    assert.deepEqual([none.status, none.text], [404, `Unknown allocation "${unknown}"`]);
    assert.equal((await logs("over", "task=main&type=stdout&plain=true")).text, "done\n");
    const gone = rig.allocation("over");
    assert.equal((await rig.get(`/v1/client/allocation/${gone}/gc`, token)).status, 200);
    const collected = await eventually("it is collected", async () => {
      const reply = await rig.get(`/v1/client/fs/logs/${gone}?task=main&type=stdout`, token);
      return reply.status === 404 ? reply : undefined;
    });
    assert.match(
      collected.text,
      /^(?:state for allocation .* not found on client|Unknown allocation .*)$/,
    );
  });
});

describe("a log of a task's whole life", () => {
  test("waits for the task, has all it wrote and ends with it", async () => {
    const client = follow(
      logsPath("silent", "task=late&type=stdout&follow=true&await=start&until=dead&plain=true"),
    );
    await client.seen("\r\n\r\n");
    const stopped = await rig.ask({
      method: "POST",
      path: `/v1/allocation/${rig.allocation("silent")}/stop`,
      token: rig.secret("management"),
    });
    assert.equal(stopped.status, 200, stopped.text);
    const { end, body } = await client.answer();
    assert.equal(`${end} ${body.toString()}`, "whole late\n");
  });
});

describe("a gateway that was started anew", () => {
  /** On the same port, over the same directory; it serves once the agent has announced itself. */
  const startedAnew = async (): Promise<Gateway> => {
    const stat = `/v1/client/fs/stat/${rig.allocation("rotated")}?path=alloc`;
    await rig.gateway.close(AbortSignal.timeout(10_000));
    const settings = parseJson(readFileSync(path.join(rig.directory, "serai.json"), "utf8"));
    assert.ok(isJsonObject(settings));
    const file = path.join(rig.directory, "anew.json");
    writeFileSync(file, stringifyJson({ ...settings, http: { listen: `127.0.0.1:${port}` } }));
    const { config } = loadServerConfig({ file, env: {} });
    const needs = { clock: systemClock, log: rig.log, version: "0.0.0-anew" };
    const gateway = await createGateway(needs, config);
    await eventually("the agent is back", async () =>
      (await rig.get(stat, token)).status === 200 ? true : undefined,
    );
    return gateway;
  };

  test("goes on with a log by the token that the one before it gave", async () => {
    const target = (query: string): string =>
      logsPath("rotated", `task=main&type=stdout&follow=true&${query}`);
    const before = follow(target("resume=true"));
    await eventually("some of it", () => before.socket.bytesRead > 1_000_000 || undefined);
    const frames = framesIn(bodyOf(before));
    before.socket.destroy();
    const at = frames.findLastIndex(({ Resume: token }) => token !== undefined);
    const head = dataIn(frames.slice(0, at));
    assert.ok(head.length > 0);
    const gateway = await startedAnew();
    try {
      const again = follow(target(`resume=${frames[at]?.["Resume"]}`));
      const whole = expected(rotatedLines);
      const rest = await eventually("the rest", () => {
        const data = dataIn(framesIn(bodyOf(again)));
        return data.length >= whole.length - head.length ? data : undefined;
      });
      again.socket.destroy();
      assert.equal(sha(Buffer.concat([head, rest])), sha(whole));
    } finally {
      await gateway.close(AbortSignal.timeout(10_000));
    }
  });
});
