/**
 * A right that ends takes what lives on it along: followers, downloads and execs of a token that expired, was removed or
 * lost its policy are ended by the gateway in seconds, each with its audit record; everybody else's go on.
 */
import assert from "node:assert/strict";
import { get as httpGet, type IncomingMessage } from "node:http";
import { test } from "node:test";
import type { JsonObject } from "../../src/lib/json.ts";
import { eventually, type Rig, startRig } from "../support/rig.ts";
import { openExec } from "./permission-table.ts";

/** More than all the buffers on its way hold. */
const fileBytes = 48 * 2 ** 20;

const rights = {
  namespace: [
    { default: { capabilities: ["read-logs", "read-fs", "alloc-exec", "alloc-node-exec"] } },
  ],
};
const noRights = { namespace: [{ default: { capabilities: ["read-job"] } }] };

const startTicker = (): Promise<Rig> =>
  startRig({
    policies: { worker: rights, shrinking: rights, reader: noRights },
    tokens: { bystander: { policies: ["worker"] } },
    agents: [
      {
        workloads: [
          {
            job: "ticker",
            group: "g",
            tasks: [
              {
                name: "t",
                command: "/bin/sh",
                args: [
                  "-c",
                  `truncate -s ${fileBytes} "$NOMAD_ALLOC_DIR/data/big"; while :; do echo tick; sleep 0.1; done`,
                ],
                kill_timeout: "1s",
              },
            ],
          },
        ],
      },
    ],
  });

/* ---- what lives ---- */

interface Ended {
  readonly whole: boolean;
  readonly bytes: number;
}

interface Live {
  /** Bytes taken so far. */
  readonly bytes: () => number;
  /** Takes what is left, and tells how it ended. */
  readonly ended: () => Promise<Ended>;
  readonly requestId: string;
  leave(): void;
}

/** Resolves with the first bytes; a slow one takes no more until its end is asked for. */
const openStream = (url: string, token: string, slow: boolean): Promise<Live> =>
  new Promise((resolve, reject) => {
    const request = httpGet(url, { agent: false, headers: { "x-nomad-token": token } });
    request.on("error", reject);
    request.on("response", (response: IncomingMessage) => {
      let bytes = 0;
      const closed = Promise.withResolvers<Ended>();
      response.on("error", () => undefined);
      response.on("close", () => closed.resolve({ whole: response.complete, bytes }));
      response.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        if (slow && bytes === chunk.length) response.pause();
        resolve(live);
      });
      const live: Live = {
        bytes: () => bytes,
        ended: () => {
          response.resume();
          return closed.promise;
        },
        requestId: String(response.headers["x-request-id"]),
        leave: () => request.destroy(),
      };
    });
  });

interface Lives {
  readonly plain: Live;
  readonly framed: Live;
  readonly file: Live;
  readonly download: Live;
  readonly exec: ReturnType<typeof openExec>;
  /** Its token came in the first message. */
  readonly shaken: ReturnType<typeof openExec>;
}

const openAll = async (rig: Rig, token: string): Promise<Lives> => {
  const id = rig.allocation("ticker");
  const files = `${rig.url}/v1/client/fs`;
  const logs = `${files}/logs/${id}?task=t&type=stdout&follow=true`;
  const command = encodeURIComponent(JSON.stringify(["/bin/sh", "-c", "echo $$; exec sleep 1000"]));
  const exec = `${rig.url}/v1/client/allocation/${id}/exec?task=t&command=${command}`;
  const shaken = openExec(`${exec}&ws_handshake=true`, undefined);
  await shaken.opened;
  shaken.socket.send(JSON.stringify({ version: 1, auth_token: token }));
  const ran = openExec(exec, token);
  const [plain, framed, file, download] = await Promise.all([
    openStream(`${logs}&plain=true`, token, false),
    openStream(logs, token, false),
    openStream(`${files}/stream/${id}?path=/alloc/logs/t.stdout.0`, token, false),
    openStream(`${files}/cat/${id}?path=/alloc/data/big`, token, true),
    ran.spoke,
    shaken.spoke,
  ]);
  return { plain, framed, file, download, exec: ran, shaken };
};

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

const endRecords = (rig: Rig, accessor: string): readonly JsonObject[] =>
  rig.audit().filter((record) => record["audit"] === "end" && record["accessor"] === accessor);

/** Everything of that caller ends, is audited as denied, and leaves no process; resolves with the records. */
const allEnded = async (
  rig: Rig,
  lives: Lives,
  accessor: string,
  words: string,
): Promise<readonly JsonObject[]> => {
  const records = await eventually("six end records", () => {
    const found = endRecords(rig, accessor);
    return found.length >= 6 ? found : undefined;
  });
  for (const record of records)
    assert.deepEqual(
      { result: record["result"], code: record["code"] },
      { result: "denied", code: "right_ended" },
      String(record["route"]),
    );
  assert.deepEqual(records.map((record) => record["route"]).sort(), [
    "alloc.exec",
    "alloc.exec",
    "fs.cat",
    "fs.logs",
    "fs.logs",
    "fs.stream",
  ]);
  for (const name of ["plain", "framed", "file", "download"] as const)
    assert.equal((await lives[name].ended()).whole, false, `${name} is cut, not ended`);
  assert.ok((await lives.download.ended()).bytes < fileBytes);
  for (const name of ["exec", "shaken"] as const) {
    const end = await lives[name].ended;
    assert.deepEqual(
      { code: end.code, reason: end.reason },
      { code: 1008, reason: `access ended: ${words}` },
    );
    assert.equal(end.exitCode, undefined);
    const pid = Number(end.stdout.trim());
    await eventually("its command is gone", () => (isAlive(pid) ? undefined : true));
  }
  return records;
};

/** What it holds moves on. */
const livesOn = async (lives: Lives): Promise<void> => {
  for (const name of ["plain", "framed", "file"] as const) {
    const before = lives[name].bytes();
    await eventually(
      `the bystander's ${name} goes on`,
      () => lives[name].bytes() > before || undefined,
    );
  }
  for (const name of ["exec", "shaken"] as const)
    assert.equal(lives[name].socket.readyState, lives[name].socket.OPEN, name);
};

const leaveAll = async (lives: Lives): Promise<void> => {
  for (const name of ["plain", "framed", "file", "download"] as const) lives[name].leave();
  for (const name of ["exec", "shaken"] as const) {
    lives[name].socket.close();
    await lives[name].ended;
  }
};

const timesOf = (records: readonly JsonObject[]): readonly number[] =>
  records.map((record) => Date.parse(String(record["time"])));

interface Ending {
  readonly title: string;
  readonly policy: "worker" | "shrinking";
  readonly words: string;
  /** Makes the right end; resolves with the moment at which it did. */
  readonly end: (rig: Rig, name: string) => Promise<number>;
  readonly withinMs: number;
  readonly reason: "expired" | "revoked";
}

const now = async (change: () => void): Promise<number> => {
  change();
  return Date.now();
};

// biome-ignore format: a table
const endings: readonly Ending[] = [
  {
    title: "is removed from the file and the gateway is told", policy: "worker", reason: "revoked", withinMs: 5_000,
    words: "the token was revoked",
    end: async (rig, name) => {
      const at = await now(() => rig.revoke(name));
      await rig.gateway.reload();
      return at;
    },
  },
  {
    title: "is removed from the file and nobody tells the gateway", policy: "worker", reason: "revoked", withinMs: 5_000,
    words: "the token was revoked",
    end: (rig, name) => now(() => rig.revoke(name)),
  },
  {
    title: "loses its rights because its policy shrinks", policy: "shrinking", reason: "revoked", withinMs: 5_000,
    words: "its policies do not allow it any more",
    end: (rig) => now(() => rig.writePolicy("shrinking", noRights)),
  },
];

const streamsEnded = async (rig: Rig, reason: string): Promise<number> => {
  const metrics = await rig.ask({ at: rig.adminUrl, path: "/metrics" });
  return [...metrics.text.matchAll(/^serai_stream_ends_total\{(.*)\} (\d+)$/gm)]
    .filter(([, labels]) => labels?.includes(`reason="${reason}"`))
    .reduce((sum, [, , count]) => sum + Number(count), 0);
};

test("live exchanges end with the right to them", async (t) => {
  await using rig = await startTicker();
  const others = await openAll(rig, rig.secret("bystander"));

  for (const [at, ending] of endings.entries())
    await t.test(
      `a token that ${ending.title} loses all it has open, and nobody else does`,
      async () => {
        const name = `ending-${at}`;
        const token = rig.addToken(name, { policies: [ending.policy] });
        await rig.gateway.reload();
        const accessor = rig.accessor(name);
        const lives = await openAll(rig, token);
        const before = await streamsEnded(rig, ending.reason);
        const endedAtMs = await ending.end(rig, name);
        const records = await allEnded(rig, lives, accessor, ending.words);
        const latest = Math.max(...timesOf(records));
        assert.ok(latest - endedAtMs <= ending.withinMs, `${latest - endedAtMs} ms late`);
        assert.equal((await streamsEnded(rig, ending.reason)) - before, 6);
        await livesOn(others);
        const again = await rig.get(`/v1/client/fs/ls/${rig.allocation("ticker")}`, token);
        assert.equal(again.status, 403);
      },
    );

  await t.test("a blocking query of a token that is removed ends unanswered", async () => {
    const token = rig.addToken("waiting", { policies: ["shrinking", "worker", "reader"] });
    await rig.gateway.reload();
    const first = await rig.get("/v1/allocations", token);
    assert.equal(first.status, 200);
    const index = String(first.headers["x-nomad-index"]);
    const waiting = rig.get(`/v1/allocations?index=${index}&wait=60s`, token);
    await eventually("the query waits", async () => {
      const live = await rig.ask({ at: rig.adminUrl, path: "/debug/live" });
      return live.text.includes("allocs.list") || undefined;
    });
    rig.revoke("waiting");
    const reply = await waiting;
    assert.deepEqual([reply.status, reply.text], [403, "access ended: the token was revoked"]);
  });

  await t.test(
    "a token that expires loses all it has open at that moment, and nobody else does",
    async () => {
      const expiresAtMs = Date.now() + 3_000;
      const token = rig.addToken("short", { policies: ["worker"], expiresAtMs });
      await rig.gateway.reload();
      const lives = await openAll(rig, token);
      assert.ok(Date.now() < expiresAtMs, "all was open before the token expired");
      const before = await streamsEnded(rig, "expired");
      const records = await allEnded(rig, lives, rig.accessor("short"), "the token has expired");
      for (const time of timesOf(records)) {
        assert.ok(time >= expiresAtMs, `${expiresAtMs - time} ms early`);
        assert.ok(time <= expiresAtMs + 1_000, `${time - expiresAtMs} ms late`);
      }
      assert.equal((await streamsEnded(rig, "expired")) - before, 6);
      await livesOn(others);
    },
  );

  await t.test("a bystander's slow download arrives whole after all that", async () => {
    assert.deepEqual(await others.download.ended(), { whole: true, bytes: fileBytes });
    await leaveAll(others);
  });
});
