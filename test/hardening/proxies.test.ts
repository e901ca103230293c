/** Behind proxies: who the caller is, is told by those on the list alone, and what a caller forges counts for nothing. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Rig, startRig } from "../support/rig.ts";
import { joinScriptedNode, type ScriptedNode, text } from "../support/scripted-node.ts";

const forwardedTo = async (
  rig: Rig,
  node: ScriptedNode,
  headers: Readonly<Record<string, string>>,
): Promise<Readonly<Record<string, string>>> => {
  node.forget();
  const answer = await rig.ask({
    path: `/v1/client/fs/cat/${node.allocationId}?path=/a`,
    token: rig.secret("management"),
    headers,
  });
  assert.equal(answer.status, 200, answer.text);
  const head = node.heard().join("");
  const lines = [
    ...head.matchAll(/^(x-forwarded-[a-z]+|x-real-ip|forwarded|via|true-client-ip): (.*)\r$/gim),
  ];
  return Object.fromEntries(lines.map(([, name = "", value = ""]) => [name.toLowerCase(), value]));
};

const start = (trusted: readonly string[]): Promise<Rig> =>
  startRig({ settings: { http: { trust_proxy: trusted, allowed_origins: [] } } });

const forged = {
  "x-forwarded-for": "6.6.6.6, 7.7.7.7",
  "x-forwarded-proto": "https",
  "x-forwarded-host": "gate.example",
  "x-real-ip": "6.6.6.6",
  forwarded: "for=6.6.6.6",
  via: "1.1 evil",
  "true-client-ip": "6.6.6.6",
};

test("without a list of proxies nothing that a caller forges reaches an agent or the log", async () => {
  await using rig = await start([]);
  await using node = await joinScriptedNode(rig, (socket) => void socket.write(text("ok")));
  assert.deepEqual(await forwardedTo(rig, node, forged), {
    "x-forwarded-for": "127.0.0.1",
    "x-forwarded-proto": "http",
    "x-forwarded-host": new URL(rig.url).host,
  });
  assert.equal(/6\.6\.6\.6|gate\.example/.test(rig.logText()), false);
  assert.ok(
    rig
      .audit()
      .every((line) => line["address"] === undefined || !String(line["address"]).startsWith("6.")),
  );
});

test("a proxy on the list is believed, and what stood there before it came is not", async () => {
  await using rig = await start(["127.0.0.0/8", "10.0.0.0/8"]);
  await using node = await joinScriptedNode(rig, (socket) => void socket.write(text("ok")));
  assert.deepEqual(await forwardedTo(rig, node, forged), {
    "x-forwarded-for": "7.7.7.7",
    "x-forwarded-proto": "https",
    "x-forwarded-host": "gate.example",
  });
  const chain = { ...forged, "x-forwarded-for": "6.6.6.6, 7.7.7.7, 10.1.2.3" };
  assert.equal(
    (await forwardedTo(rig, node, chain))["x-forwarded-for"],
    "7.7.7.7",
    "through two proxies of ours",
  );
  for (const odd of ["nonsense", "", ", ,", "999.1.1.1", "::ffff:8.8.8.8", "7.7.7.7:80"]) {
    const told = (await forwardedTo(rig, node, { ...forged, "x-forwarded-for": odd }))[
      "x-forwarded-for"
    ];
    assert.match(told ?? "", /^(?:127\.0\.0\.1|8\.8\.8\.8)$/, JSON.stringify(odd));
  }
});

test("the name that a proxy was called by is the own origin there, and nowhere else", async () => {
  const write = async (rig: Rig, headers: Record<string, string>): Promise<number> =>
    (
      await rig.ask({
        method: "POST",
        path: "/v1/search",
        token: rig.secret("management"),
        body: '{"Prefix":"x","Context":"jobs"}',
        headers,
      })
    ).status;
  const headers = { "x-forwarded-host": "gate.example", origin: "https://gate.example" };
  await using behind = await start(["127.0.0.1/32"]);
  assert.equal(await write(behind, headers), 200);
  assert.equal(await write(behind, { ...headers, origin: "https://evil.example" }), 403);
  await using bare = await start([]);
  assert.equal(await write(bare, headers), 403, "anybody could forge the header");
});
