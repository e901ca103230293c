/** Nodes: the address a caller is given, and what never leaves the gateway. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Mask } from "../../../src/registry/answers/node-shape.ts";
import { createAsk } from "./ask.ts";
import { allocation, idOf, node, nodeId, registryOf } from "./documents.ts";

const masks: readonly (Mask & { readonly address: string })[] = [
  { authority: "gate.example:4646", scheme: "http", address: "gate.example:4646" },
  { authority: "gate.example", scheme: "http", address: "gate.example:80" },
  { authority: "gate.example", scheme: "https", address: "gate.example:443" },
  { authority: "gate.example:", scheme: "https", address: "gate.example:443" },
  { authority: "10.0.0.9:8443", scheme: "https", address: "10.0.0.9:8443" },
  { authority: "[2001:db8::1]:4646", scheme: "http", address: "[2001:db8::1]:4646" },
  { authority: "[2001:db8::1]", scheme: "https", address: "[2001:db8::1]:443" },
  { authority: "2001:db8::1", scheme: "http", address: "[2001:db8::1]:80" },
  { authority: "", scheme: "http", address: "127.0.0.1:4647" },
];

const fieldsOf = (value: unknown): Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null ? { ...value } : {};

for (const { address, ...client } of masks)
  test(`a caller at ${client.scheme}://${client.authority} is sent to ${address}`, async () => {
    const ask = createAsk(registryOf([]));
    const { document } = await ask({ route: "node.read", key: nodeId, token: "node-read", client });
    const { HTTPAddr, TLSEnabled } = fieldsOf(document);
    assert.equal(HTTPAddr, address);
    assert.equal(TLSEnabled, client.scheme === "https");
  });

test("a node is given complete and in order, without what its agent keeps secret", async () => {
  const secretive = node({ SecretID: "s", PullSecret: "p", DrainStrategy: { Deadline: 0 } });
  const ask = createAsk(registryOf([], [secretive]));
  const { document } = await ask({ route: "node.read", key: nodeId, token: "node-read" });
  const given = fieldsOf(document);
  const names = Object.keys(given);
  assert.deepEqual(names, names.toSorted());
  assert.equal(given["SecretID"], "");
  assert.equal("PullSecret" in given, false);
  assert.equal(given["Drain"], true);
  assert.deepEqual(fieldsOf(given["NodeResources"])["Disk"], { DiskMB: 0 });
  assert.deepEqual(fieldsOf(given["ReservedResources"])["Memory"], { MemoryMB: 0 });
});

test("the list of nodes gives the host alone, also of IPv6", async () => {
  const ask = createAsk(registryOf([], [node({ HTTPAddr: "[fd00::7]:4646" })]));
  const { document } = await ask({ route: "nodes.list", token: "node-read" });
  assert.deepEqual(Array.isArray(document) && document.map((one) => fieldsOf(one)["Address"]), [
    "fd00::7",
  ]);
});

test("a node's allocations are those of namespaces the caller may read, their index that of all", async () => {
  const theirs = allocation(idOf("2"), { Namespace: "golden-b", ModifyIndex: 40 });
  const elsewhere = allocation(idOf("3"), { NodeID: idOf("b"), ModifyIndex: 60 });
  const policy = { route: "node.allocations", key: nodeId, token: "full" };
  const ask = createAsk(registryOf([allocation(idOf("1")), theirs, elsewhere]));
  const { document, headers } = await ask(policy);
  assert.deepEqual(Array.isArray(document) && document.map((one) => fieldsOf(one)["ID"]), [
    idOf("1"),
  ]);
  assert.equal(headers["X-Nomad-Index"], "40");
});

const missing: readonly (readonly [key: string, status: number, text: string])[] = [
  ["", 500, "missing node ID"],
  [`${nodeId}/nope`, 500, "node lookup failed: index error: UUID must be 36 characters"],
  [idOf("9"), 404, "node not found"],
];

for (const [key, status, text] of missing)
  test(`a node called ${JSON.stringify(key)} is ${status} ${text}`, async () => {
    const outcome = await createAsk(registryOf([]))({
      route: "node.read",
      key,
      token: "node-read",
    });
    assert.deepEqual([outcome.status, outcome.text], [status, text]);
  });

test("services of an allocation are given while its node can be reached, and not when it is down", async () => {
  const Services = [{ Name: "web", PortLabel: "http", Provider: "nomad", Tags: [] }];
  const Job = { ID: "web", TaskGroups: [{ Name: "g", Tasks: [], Services }] };
  const running = allocation(idOf("1"), { Job });
  const asked = {
    route: "alloc.services",
    key: idOf("1"),
    query: "namespace=golden",
    token: "full",
  };
  const namesOn = async (Status: "ready" | "down") => {
    const { document } = await createAsk(registryOf([running], [node({ Status })]))(asked);
    return Array.isArray(document) && document.map((one) => fieldsOf(one)["ServiceName"]);
  };
  assert.deepEqual(await namesOn("ready"), ["web"]);
  assert.deepEqual(await namesOn("down"), []);
});
