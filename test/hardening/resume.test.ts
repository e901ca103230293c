/** A download that broke is taken up where it stopped, and the same decision is made at whatever door and by whatever spelling. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { get, rawClient } from "../support/raw-client.ts";
import { eventually, type Rig, startRig } from "../support/rig.ts";

let rig: Rig;
let id = "";
let token = "";

const fileBytes = 12 * 2 ** 20;

before(async () => {
  const shell = (job: string, script: string, more: object = {}) => ({
    job,
    group: "g",
    ...more,
    tasks: [{ name: "t", command: "/bin/sh", args: ["-c", script], kill_timeout: "1s" }],
  });
  rig = await startRig({
    policies: {
      reader: {
        namespace: [{ default: { policy: "read", capabilities: ["read-logs", "read-fs"] } }],
        node: { policy: "read" },
      },
    },
    tokens: { reader: { policies: ["reader"] }, none: {} },
    agents: [
      {
        name: "here",
        workloads: [
          shell(
            "data",
            `head -c ${fileBytes} /dev/urandom > $NOMAD_ALLOC_DIR/data/file; touch $NOMAD_ALLOC_DIR/data/done; exec sleep 1000`,
          ),
          shell("foreign", "exec sleep 1000", { namespace: "other" }),
        ],
      },
      { name: "there", workloads: [] },
    ],
  });
  id = rig.allocation("data");
  token = rig.secret("reader");
  await eventually("the file is whole", async () =>
    (await rig.get(`/v1/client/fs/stat/${id}?path=/alloc/data/done`, token)).status === 200
      ? true
      : undefined,
  );
});
after(() => rig[Symbol.asyncDispose]());

const hashOf = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

test("a download cut at any place and taken up with readat has the file's own hash", async () => {
  const whole = await rig.get(`/v1/client/fs/cat/${id}?path=/alloc/data/file`, token);
  assert.equal(whole.body.length, fileBytes);
  const port = Number(new URL(rig.url).port);
  const parts: Buffer[] = [];
  let have = 0;
  for (let cut = 1; have < fileBytes; cut++) {
    assert.ok(cut < 50, "each piece brings it on");
    const client = rawClient(
      port,
      get(
        `/v1/client/fs/readat/${id}?path=/alloc/data/file&offset=${have}&limit=${fileBytes - have}`,
        `X-Nomad-Token: ${token}\r\n`,
      ),
    );
    const wanted = Math.min(fileBytes - have, cut * 1_500_001);
    const ended = client.answer();
    await eventually(
      "enough has come",
      () => client.received().length > wanted || client.socket.destroyed || undefined,
    );
    client.socket.destroy();
    const { body } = await ended;
    parts.push(body);
    have += body.length;
  }
  assert.equal(have, fileBytes);
  assert.equal(hashOf(Buffer.concat(parts)), hashOf(whole.body));
});

describe("every door and spelling makes the same decision", () => {
  const paths = (allocation: string): readonly string[] => [
    `/v1/client/fs/ls/${allocation}?path=/`,
    `/v1/client/allocation/${allocation}/stats`,
    `/v1/client/fs/logs/${allocation}?task=t&type=stdout`,
  ];

  interface Try {
    readonly name: string;
    readonly secret: string | undefined;
    readonly path: string;
    readonly wanted: number;
  }
  const spelled = (path: string): readonly string[] =>
    ["", "namespace=default", "namespace=*", "namespace=other"].map(
      (more) => `${path}${path.includes("?") ? "&" : "?"}${more}`,
    );
  const tries = (): readonly Try[] =>
    [
      { name: "a reader, its own", secret: token, of: id, wanted: 200 },
      { name: "a reader, another's", secret: token, of: rig.allocation("foreign"), wanted: 403 },
      { name: "nobody", secret: rig.secret("none"), of: id, wanted: 403 },
      { name: "anonymous", secret: undefined, of: id, wanted: 403 },
    ].flatMap(({ of, ...one }) =>
      [...paths(of), ...paths(of.toUpperCase())].flatMap(spelled).map((path) => ({ ...one, path })),
    );

  test("the gateway's door, an agent's own, capitals and a foreign namespace in the query", async () => {
    const at = rig.agents.find(({ name }) => name === "here")?.url ?? "";
    for (const { name, secret, path, wanted } of tries())
      for (const door of [rig.url, at]) {
        const { status, text } = await rig.ask({ path, token: secret, at: door });
        assert.equal(status, wanted, `${name}: ${door}${path}: ${text}`);
      }
  });

  test("another agent never answers for an allocation that is not its own", async () => {
    const there = rig.agents.find(({ name }) => name === "there")?.url ?? "";
    for (const path of paths(id)) {
      const { status } = await rig.ask({ path, token: rig.secret("management"), at: there });
      assert.equal(status, 404, path);
    }
  });

  test("a node is found by its whole id alone, and another region by nobody", async () => {
    const { nodeId } = rig.agents.find(({ name }) => name === "here") ?? assert.fail("no agent");
    const stats = (node: string, more = ""): Promise<number> =>
      rig
        .get(`/v1/client/stats?node_id=${encodeURIComponent(node)}${more}`, token)
        .then(({ status }) => status);
    assert.equal(await stats(nodeId), 200);
    assert.equal(await stats(nodeId.toUpperCase()), 200);
    for (const odd of [
      nodeId.slice(0, 8),
      nodeId.slice(0, -1),
      `${nodeId} `,
      ` ${nodeId}`,
      `${nodeId}/`,
      "here",
      "*",
      `${nodeId},${nodeId}`,
    ])
      assert.ok((await stats(odd)) >= 400, odd);
    assert.equal(await stats(nodeId, `&node_id=${nodeId}`), 400, "given twice");
    assert.equal(await stats(nodeId, "&region=elsewhere"), 500);
  });

  test("a prefix of an allocation's id is nobody's", async () => {
    for (const prefix of [id.slice(0, 8), id.slice(0, 35), `${id}0`, id.replaceAll("-", "")])
      for (const path of paths(prefix)) {
        const { status } = await rig.get(path, rig.secret("management"));
        assert.ok(status >= 400, path);
      }
  });
});
