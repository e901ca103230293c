/** Certificates of nodes: made as the documentation says, and seen through intermediates. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import type { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { connect, createServer, type TLSSocket } from "node:tls";
import { readAuthorities } from "../../src/lib/authorities.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { createDialler } from "../../src/tunnel/dialler.ts";
import { certifiedBy } from "../../src/tunnel/node-certificate.ts";
import { createCertificates } from "../support/certificates.ts";
import { deadAddress } from "../support/faulty-agent.ts";
import { eventually } from "../support/rig.ts";
import { openDoor } from "../support/tls-door.ts";

const node = "7d2d6b1e-63c9-4d5d-8f0b-2f6a1c9d3e55";

interface Pair {
  readonly cert: string;
  readonly key: string;
}

/** The node that a connection with that certificate stands for, or the refusal. */
const shownTo = async (own: Pair, ca: string, shown: Pair): Promise<string> => {
  const server = createServer({ ...own, ca, requestCert: true, rejectUnauthorized: false });
  await using open = await openDoor(server);
  const secured: Promise<[TLSSocket]> = once(server, "secureConnection") as Promise<[TLSSocket]>; // node's own event
  const port = Number(open.address.split(":")[1]);
  const caller = connect({ port, host: "127.0.0.1", rejectUnauthorized: false, ...shown });
  caller.on("error", () => undefined);
  const [socket] = await secured;
  try {
    const certified = certifiedBy(systemClock, () => readAuthorities(ca))(socket);
    return certified?.nodeId ?? "none";
  } catch (error) {
    return String(error);
  } finally {
    caller.destroy();
  }
};

test("the commands of docs/tunnel.md make a node's certificate", async () => {
  const directory = mkdtempSync(path.join(tmpdir(), "serai-documented-"));
  try {
    const [, script = ""] =
      /```sh\n([\s\S]+?)```/.exec(readFileSync("docs/tunnel.md", "utf8")) ?? [];
    assert.match(script, /nodes-ca\.crt/);
    const done = spawnSync("sh", ["-euc", script], { cwd: directory, encoding: "utf8" });
    assert.equal(done.status, 0, done.stderr);
    const text = (name: string): string => readFileSync(path.join(directory, name), "utf8");
    const pair = { cert: text("node.crt"), key: text("node.key") };
    assert.equal(await shownTo(pair, text("nodes-ca.crt"), pair), node);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test("whether its authority counts is looked at anew when the authorities have changed, and only then", async () => {
  using certificates = createCertificates();
  const { make, pair, cert } = certificates;
  make("ca", { authority: true });
  make("other", { authority: true });
  make("node", { by: "ca", names: [`URI:urn:uuid:${node}`], purpose: "clientAuth" });
  const server = createServer({ ...pair("node"), ca: cert("ca"), requestCert: true });
  await using open = await openDoor(server);
  const secured: Promise<[TLSSocket]> = once(server, "secureConnection") as Promise<[TLSSocket]>; // node's own event
  const port = Number(open.address.split(":")[1]);
  const caller = connect({ port, host: "127.0.0.1", rejectUnauthorized: false, ...pair("node") });
  caller.on("error", () => undefined);
  const [socket] = await secured;
  let looks = 0;
  const authoritiesOf = (name: string): readonly X509Certificate[] => {
    const [authority] = readAuthorities(cert(name));
    assert.ok(authority);
    return Object.defineProperty([], "0", {
      get: () => {
        looks += 1;
        return authority;
      },
    });
  };
  let current = authoritiesOf("ca");
  const certified = certifiedBy(systemClock, () => current)(socket);
  const first = looks;
  assert.ok(certified);
  assert.ok(certified.mayStay() && certified.mayStay());
  assert.equal(looks, first);
  current = authoritiesOf("other");
  assert.ok(!certified.mayStay() && !certified.mayStay());
  assert.equal(looks, 2 * first);
  current = authoritiesOf("ca");
  assert.ok(certified.mayStay());
  caller.destroy();
});

test("an intermediate authority counts when it is in the file itself, and no node is one", async () => {
  using certificates = createCertificates();
  const { make, pair, cert } = certificates;
  const leaf = { names: [`URI:urn:uuid:${node}`], purpose: "clientAuth" } as const;
  make("root", { authority: true });
  make("between", { by: "root", authority: true });
  make("node", { ...leaf, by: "between" });
  make("forged", { ...leaf, by: "node" });
  const both = `${cert("root")}${cert("between")}`;
  const chain = (...names: readonly string[]): Pair => ({
    key: pair(names[0] ?? "").key,
    cert: names.map(cert).join(""),
  });
  const refused = /is not issued by an authority in tunnel\.client_ca_file/;
  assert.equal(await shownTo(pair("node"), both, pair("node")), node);
  assert.match(await shownTo(pair("node"), cert("root"), chain("node", "between")), refused);
  assert.match(await shownTo(pair("node"), both, chain("forged", "node", "between")), refused);
  assert.match(
    await shownTo(pair("node"), cert("between"), pair("node")),
    /was not verified: UNABLE_TO_GET_ISSUER_CERT/,
  );
});

test("files that are half renewed are told of, and read again for the next dial", async () => {
  using certificates = createCertificates();
  const { make, pair } = certificates;
  make("old", {});
  make("new", {});
  const attempts: (() => Pair)[] = [
    () => {
      throw new Error("ENOENT: node.crt is not there");
    },
    () => ({ cert: pair("new").cert, key: pair("old").key }),
  ];
  const reasons: string[] = [];
  const ignored = (): void => undefined;
  const warn = (about: object): void => {
    if ("reason" in about) reasons.push(String(about.reason));
  };
  let dials = 0;
  const dialler = createDialler(
    { log: { debug: ignored, info: ignored, error: ignored, warn }, accept: ignored },
    {
      gateways: [`https://${await deadAddress()}`],
      nodeId: node,
      joinToken: undefined,
      ca: undefined,
      certificate: () => attempts[dials++]?.() ?? pair("new"),
      firstRetryMs: 5,
    },
  );
  await eventually("all three dials", () => reasons.length >= 3 || undefined);
  await dialler.close(AbortSignal.abort());
  assert.match(reasons[0] ?? "", /^the node's certificate: ENOENT/);
  assert.match(reasons[1] ?? "", /key values mismatch/);
  assert.equal(reasons[2], "ECONNREFUSED");
});
