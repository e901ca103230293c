/** A reader that takes nothing: the ledger shows for how long, and the limit ends it with a reason that all records give. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, describe, test } from "node:test";
import { isJsonObject, type JsonObject, parseJson } from "../../src/lib/json.ts";
import { get, type RawClient, rawClient } from "../support/raw-client.ts";
import { eventually, type Rig, startRig } from "../support/rig.ts";
import { type ExecClient, execClient } from "../support/ws-client.ts";

const limitMs = 1_500;
/** More than the sockets on the way hold. */
const size = 32 * 2 ** 20;

let rig: Rig;
let id = "";
let token = "";

const script = `truncate -s ${size} "$NOMAD_ALLOC_DIR/data/big"; yes | head -c ${size}; exec sleep 1000`;

/** Says nothing until there is a file of its name. */
const quiet = `until [ -e "$NOMAD_ALLOC_DIR/data/$NOMAD_TASK_NAME" ]; do sleep 0.1; done; yes | head -c ${size}; exec sleep 1000`;
const quietTasks = ["plain", "framed"];
const taskOf = (name: string, words: string) =>
  ({ name, command: "/bin/sh", args: ["-c", words], kill_timeout: "1s" }) as const;

before(async () => {
  rig = await startRig({
    settings: {
      timeouts: { idle: `${limitMs}ms`, follow_idle: `${limitMs}ms`, first_byte: "60s" },
    },
    agents: [
      {
        workloads: [
          {
            job: "big",
            group: "g",
            tasks: [taskOf("t", script), ...quietTasks.map((name) => taskOf(name, quiet))],
          },
        ],
      },
    ],
  });
  id = rig.allocation("big");
  token = rig.secret("management");
  await eventually("the log is there", async () => {
    const { text } = await rig.get(`/v1/client/fs/ls/${id}?path=/alloc/logs`, token);
    return text.includes("t.stdout.3") || undefined;
  });
});
after(async () => {
  await rig[Symbol.asyncDispose]();
});

const lines = (text: string): readonly JsonObject[] =>
  text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => parseJson(line))
    .filter(isJsonObject);

const live = async (
  is: (row: JsonObject) => boolean,
  of = rig,
): Promise<JsonObject | undefined> => {
  const rows = (await of.ask({ at: of.adminUrl, path: "/debug/live" })).json();
  assert.ok(Array.isArray(rows));
  return rows.filter(isJsonObject).find(is);
};

/** The row of an exchange that stands still. */
const stalledRow = (
  route: string,
  which: "callerStalledMs" | "agentStalledMs",
  of = rig,
): Promise<JsonObject> =>
  eventually(`${route} stands still in the ledger`, () =>
    live((row) => row["route"] === route && Number(row[which] ?? -1) >= 50, of),
  );

/** It is counted once. Scrapes that run at once share one, which may have begun before. */
const countedSlow = (kind: string): Promise<true> =>
  eventually("it is counted", async () => {
    const { text } = await rig.ask({ at: rig.adminUrl, path: "/metrics" });
    const line = `serai_stream_ends_total{kind="${kind}",reason="slow"} 1`;
    return text.split("\n").includes(line) || undefined;
  });

/** The end of the one that was seen in `row` is told alike by log, audit and metrics. */
const endedFor = async (row: JsonObject, code: string): Promise<void> => {
  const end = await eventually("its audit record", () =>
    rig.audit().find((line) => line["audit"] === "end" && line["requestId"] === row["id"]),
  );
  assert.equal(end["code"], code);
  const logged = await eventually("its log line", () =>
    lines(rig.logText()).find(
      (line) => line["id"] === row["id"] && line["msg"] === "request refused",
    ),
  );
  assert.equal(logged["code"], code);
};

/** How the answer of a reader that reads again ends; looked at when all has come, which takes far less than with each piece. */
const endOf = async (reader: RawClient): Promise<string> => {
  reader.socket.resume();
  await once(reader.socket, "close");
  return (await reader.answer()).end;
};

const exec = (command: readonly string[]): ExecClient =>
  execClient({ url: rig.url, allocation: id, task: "t", token, command, keep: false });

const bodies = [
  { kind: "download", route: "fs.cat", path: () => `/v1/client/fs/cat/${id}?path=/alloc/data/big` },
  { kind: "follow", route: "fs.logs", path: () => `/v1/client/fs/logs/${id}?task=t&type=stdout&follow=true&plain=true` },
] as const; // biome-ignore format: a table

describe("a reader that takes nothing", { concurrency: true }, () => {
  for (const { kind, route, path } of bodies)
    test(`of a ${kind} is seen in the ledger, and ended as too slow`, async () => {
      const port = Number(new URL(rig.url).port);
      const reader = rawClient(port, get(path(), `X-Nomad-Token: ${token}\r\n`));
      await reader.seen("200 OK");
      reader.socket.pause();
      const row = await stalledRow(route, "callerStalledMs");
      const taken = Number(row["bytesOut"]);
      assert.ok(taken > 0 && taken < size, `${taken}`);
      assert.equal(row["agentStalledMs"], undefined);
      assert.ok(Number(row["ageMs"]) >= Number(row["callerStalledMs"]));
      await endedFor(row, "client_too_slow");
      await countedSlow(kind);
      assert.equal(await live(({ id: other }) => other === row["id"]), undefined);
      assert.notEqual(await endOf(reader), "whole");
    });

  test("of an exec is seen in the ledger, and closed as too slow", async () => {
    const session = exec(["yes"]);
    await session.opened;
    session.wire().pause();
    const row = await stalledRow("alloc.exec", "callerStalledMs");
    assert.ok(Number(row["bytesOut"]) > 0);
    await endedFor(row, "client_too_slow");
    await countedSlow("exec");
    session.wire().resume();
    await session.closed;
  });

  test("and is a command given input is seen as the agent's stall", async () => {
    const session = exec(["sleep", "1000"]);
    await session.opened;
    session.stdin(Buffer.alloc(16 * 2 ** 20));
    const row = await stalledRow("alloc.exec", "agentStalledMs");
    assert.ok(Number(row["bytesIn"]) > 0);
    await endedFor(row, "upstream_timeout");
    assert.equal((await session.closed).code, 1013);
  });
});

test("a reader that takes up again in time is no more seen as stalled, and gets the whole", async () => {
  const workload = {
    job: "big",
    group: "g",
    tasks: [taskOf("t", `truncate -s ${size} "$NOMAD_ALLOC_DIR/data/big"; exec sleep 1000`)],
  };
  await using patient = await startRig({ agents: [{ workloads: [workload] }] });
  const of = patient.allocation("big");
  const secret = patient.secret("management");
  await eventually("the file is there", async () => {
    const { text } = await patient.get(`/v1/client/fs/ls/${of}?path=/alloc/data`, secret);
    return text.includes(`"Size":${size}`) || undefined;
  });
  const asked = await fetch(
    `${patient.url}/v1/client/fs/readat/${of}?path=/alloc/data/big&offset=0&limit=${size}`,
    { headers: { "X-Nomad-Token": secret } },
  );
  assert.ok(asked.body);
  const reader = asked.body.getReader();
  const { id: request } = await stalledRow("fs.readat", "callerStalledMs", patient);
  let bytes = 0;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    bytes += value.byteLength;
  }
  assert.equal(bytes, size);
  await eventually("it is over", async () =>
    (await live((row) => row["id"] === request, patient)) === undefined ? true : undefined,
  );
});

for (const task of quietTasks)
  test(`a ${task} log that is quiet for longer than the limit keeps its reader, who is ended once it takes nothing`, async () => {
    const path = `/v1/client/fs/logs/${id}?task=${task}&type=stdout&follow=true&plain=${task === "plain"}`;
    const reader = rawClient(
      Number(new URL(rig.url).port),
      get(path, `X-Nomad-Token: ${token}\r\n`),
    );
    await reader.seen("200 OK");
    await new Promise((resolve) => setTimeout(resolve, 1.5 * limitMs));
    const waiting = await live((row) => row["route"] === "fs.logs");
    assert.ok(Number(waiting?.["bytesOut"]) < 100);
    assert.equal(waiting?.["callerStalledMs"], undefined);
    reader.socket.pause();
    await exec(["/bin/sh", "-c", `touch "$NOMAD_ALLOC_DIR/data/${task}"`]).closed;
    const row = await stalledRow("fs.logs", "callerStalledMs");
    assert.equal(row["id"], waiting?.["id"]);
    await endedFor(row, "client_too_slow");
    reader.socket.destroy();
  });
