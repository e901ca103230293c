/** Settings that do not fit each other are told beside those that are wrong in themselves, but never as their shadow. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, test } from "node:test";
import {
  ConfigError,
  loadAgentConfig,
  loadConnectConfig,
  loadServerConfig,
} from "../../src/config/load.ts";

const directory = mkdtempSync(path.join(tmpdir(), "serai-together-"));
after(() => rmSync(directory, { recursive: true }));
const file = path.join(directory, "s.yaml");

const loaders = {
  server: loadServerConfig,
  agent: loadAgentConfig,
  connect: loadConnectConfig,
} as const;

interface Case {
  readonly name: string;
  readonly of?: keyof typeof loaders;
  readonly content: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly told: readonly string[];
}

const toldOf = ({
  of = "server",
  content,
  env = {},
}: Omit<Case, "name" | "told">): readonly string[] => {
  writeFileSync(file, content);
  try {
    loaders[of]({ file, env });
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.mistakes.map((mistake) => mistake.replaceAll(`${directory}/`, ""));
  }
};

const hostPort = "must be HOST:PORT";
const node = "7d2d6b1e-63c9-4d5d-8f0b-2f6a1c9d3e55";
const cases: readonly Case[] = [
  {
    name: "a wrong setting and a certificate without its key",
    content: "http: { listen: x }\ntls: { cert_file: a }\n",
    told: [
      `http.listen: ${hostPort}`,
      "tls.cert_file: needs tls.key_file, and the other way round",
    ],
  },
  {
    name: "a wrong setting is not compared with others",
    content: "http: { listen: x }\nadmin: { listen: 127.0.0.1:4646 }\n",
    told: [`http.listen: ${hostPort}`],
  },
  {
    name: "a secret whose file cannot be read is not missing",
    content: "admin: { listen: '0.0.0.0:9464', token_file: /nowhere }\n",
    told: ["admin.token_file: cannot read /nowhere: no such file or directory (ENOENT)"],
  },
  {
    name: "what is missing may be what an unknown setting beside it was meant to be",
    content: "tls: { cert_file: a, kye_file: b }\nnomad: { key_file: k }\n",
    told: [
      "tls.kye_file: unknown setting",
      "nomad.cert_file: needs nomad.key_file, and the other way round",
    ],
  },
  {
    name: "issuers are looked at one by one",
    content: `acl:
  jwt:
    issuers:
      - { issuer: a, jwks_file: k, jwks_uri: 1, audiences: [], bindings: [{ claim: c, glob: 1, policies: [p], management: true }] }
      - { issuer: b, audiences: [x], bindings: [{ claim: c, value: d, management: true }] }
`,
    told: [
      "acl.jwt.issuers.0.jwks_uri: must be a URL with http:// or https://, without credentials",
      "acl.jwt.issuers.0.bindings.0.glob: must be a text that is not empty",
      "acl.jwt.issuers.0.audiences: must name at least one",
      "acl.jwt.issuers.0.bindings.0: needs one of policies and management: true",
      "acl.jwt.issuers.1: needs exactly one of jwks_uri, jwks_file and public_keys",
    ],
  },
  {
    name: "workloads are looked at one by one",
    of: "agent",
    content: `listen: x
tls: { key_file: k }
workloads:
  - { job: j, group: 1, tasks: [], services: [{ name: s, port: http }, { name: t, port: 1 }] }
`,
    told: [
      `listen: ${hostPort}`,
      "workloads.0.group: must be a name of letters, digits, '.', '_' and '-', at most 128 characters",
      "workloads.0.services.1.port: must be a text that is not empty",
      "tls.cert_file: needs tls.key_file, and the other way round",
      "workloads.0.tasks: needs at least one task",
      "workloads.0.services.0: no port of the group is labelled http",
    ],
  },
  {
    name: "agents of a connector are looked at one by one",
    of: "connect",
    content: `drain: 1
gateways: ["http://gate.example"]
agents: [{ node_id: x, address: "127.0.0.1:0" }, { node_id: ${node}, key_file: k }]
`,
    told: [
      'drain: must be a duration like "5s", from "0s" to 596h',
      "agents.0.node_id: must be a node's id, as `nomad node status -self` prints it",
      "gateways: gate.example is another machine; use https, or set cleartext",
      "agents.0.address: must have a port",
      "agents.1.cert_file: needs key_file beside it, and the other way round",
    ],
  },
];

for (const one of cases)
  test(`${one.name}: told in one go`, () => {
    assert.deepEqual(
      new Set(toldOf(one)),
      new Set(one.told.map((words) => `file s.yaml: ${words}`)),
    );
  });

test("of a file that cannot be read nothing is guessed; what the environment says is looked at", () => {
  const told = toldOf({
    content: "http: [\n",
    env: { SERAI_NAME: "", SERAI_REGISTRY: "nomad", SERAI_TIMEOUTS_HEADERS: "40s", SERAI_TIMEOUTS_REQUEST: "30s" },
  }); // biome-ignore format: one call
  assert.equal(told.length, 3);
  assert.match(told[0] ?? "", /^file s\.yaml: .* at line \d+/);
  assert.match(told[1] ?? "", /^env SERAI_NAME: must be a name/);
  assert.equal(told[2], "env SERAI_TIMEOUTS_HEADERS: must not be longer than timeouts.request");
});
