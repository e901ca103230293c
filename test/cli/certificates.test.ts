/** Certificates that settings name and that cannot be used: one line names the file, and nothing starts. */
import assert from "node:assert/strict";
import { createPrivateKey } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, test } from "node:test";
import { createCertificates } from "../support/certificates.ts";
import { serai, temporaryDirectory } from "./support.ts";

const certificates = createCertificates();
after(() => certificates[Symbol.dispose]());
certificates.make("one", { names: ["IP:127.0.0.1"] });
certificates.make("other", { names: ["IP:127.0.0.1"] });
const at = (name: string): string => path.join(certificates.directory, name);
writeFileSync(
  at("locked.key"),
  createPrivateKey(readFileSync(at("one.key"))).export({
    type: "pkcs8",
    format: "pem",
    cipher: "aes-256-cbc",
    passphrase: "a passphrase",
  }),
);
writeFileSync(at("empty.crt"), "");

/** Of a certificate and its key; the names are those of the files. */
const pairs = [
  ["one.crt", "other.key", "the key of other.key is not the one of the certificate in one.crt (key values mismatch)"],
  ["one.key", "one.crt", "one.key: holds no certificate in PEM"],
  ["one.crt", "one.crt", "one.crt: holds no private key in PEM"],
  ["one.crt", "locked.key", "locked.key: the key is encrypted; store it without a passphrase"],
  ["none.crt", "one.key", "none.crt: no such file or directory (ENOENT)"],
] as const; // biome-ignore format: a table

const settingsOf: Readonly<Record<string, (section: object) => object>> = {
  server: (tls) => ({ http: { listen: "127.0.0.1:0" }, admin: { listen: "127.0.0.1:0" }, tls }),
  "server's reach": (reach) => ({ http: { listen: "127.0.0.1:0" }, admin: { listen: "127.0.0.1:0" }, reach }),
  agent: (tls) => ({ listen: "127.0.0.1:0", tls }),
  "agent's gateway": (gateway) => ({ listen: "127.0.0.1:0", gateway: { address: "https://127.0.0.1:1", ...gateway } }),
  connect: (agent) => ({
    gateways: ["https://127.0.0.1:1"],
    agents: [{ node_id: "7d2d6b1e-63c9-4d5d-8f0b-2f6a1c9d3e55", address: "127.0.0.1:1", ...agent }],
  }),
  "connect's gateways": (more) => ({
    gateways: ["https://127.0.0.1:1"],
    join_token: "0123456789abcdef",
    agents: [{ node_id: "7d2d6b1e-63c9-4d5d-8f0b-2f6a1c9d3e55", address: "127.0.0.1:1" }],
    ...more,
  }),
}; // biome-ignore format: a table

const refused = async (kind: string, section: object, words: string): Promise<void> => {
  using directory = temporaryDirectory();
  const file = path.join(directory.path, "settings.json");
  const settings = settingsOf[kind]?.(section) ?? assert.fail(kind);
  const [command = ""] = kind.split("'");
  const own = command === "connect" ? {} : { data_dir: path.join(directory.path, "data") };
  writeFileSync(file, JSON.stringify({ ...settings, ...own }));
  const started = serai([command, "--config", file], { timeoutMs: 10_000 });
  const { code } = await started.ended;
  const last = started.stderr().trimEnd().split("\n").at(-1) ?? "";
  assert.ok(last.replaceAll(`${certificates.directory}/`, "").endsWith(words), last);
  assert.match(last, /^serai: /);
  assert.equal(code, 1);
};

const [unfit] = pairs;
for (const [kind, [cert, key, words]] of [
  ...pairs.map((row) => ["server", row] as const),
  ...["server's reach", "agent", "agent's gateway", "connect"].map(
    (kind) => [kind, unfit] as const,
  ),
])
  test(`${kind}: ${cert} with ${key}`, () =>
    refused(kind, { cert_file: at(cert), key_file: at(key) }, words));

const pair = { cert_file: at("one.crt"), key_file: at("one.key") };
const authorities = [
  ["server", pair, "client_ca_file"],
  ["server's reach", {}, "ca_file"],
  ["agent", pair, "client_ca_file"],
  ["agent's gateway", {}, "ca_file"],
  ["connect's gateways", {}, "ca_file"],
] as const;

for (const [kind, more, setting] of authorities)
  test(`${kind}: a file of authorities without one`, async () => {
    const words = "empty.crt: holds no certificate in PEM";
    await refused(kind, { ...more, [setting]: at("empty.crt") }, words);
  });
