/** The corpus' tokens and policies, as files for a gateway. */
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { hashSecret } from "../../src/acl/secrets.ts";

type Policy = Readonly<Record<string, unknown>>;

const inNamespace = (name: string, rule: Policy): Policy => ({ namespace: [{ [name]: rule }] });
const capability = (name: string): Policy => inNamespace("golden", { capabilities: [name] });
const more = ["alloc-node-exec", "gc-allocation"];

const single = [
  "list-jobs",
  "read-job",
  "read-logs",
  "read-fs",
  "alloc-exec",
  "alloc-lifecycle",
  "submit-job",
  "gc-allocation",
] as const;

const policies: Readonly<Record<string, Policy>> = {
  full: {
    ...inNamespace("golden", { policy: "write", capabilities: [...more, "pause-allocation"] }),
    node: { policy: "write" },
    agent: { policy: "write" },
  },
  read: inNamespace("golden", { policy: "read" }),
  write: inNamespace("golden", { policy: "write" }),
  ...Object.fromEntries(single.map((name) => [name, capability(name)])),
  "alloc-node-exec": inNamespace("golden", { capabilities: ["alloc-exec", "alloc-node-exec"] }),
  "other-ns": inNamespace("golden-b", { policy: "write", capabilities: more }),
  "both-read": {
    namespace: [{ golden: { policy: "read" } }, { "golden-b": { policy: "read" } }],
  },
  "node-read": { node: { policy: "read" } },
  "node-write": { node: { policy: "write" } },
  "agent-read": { agent: { policy: "read" } },
};

const issued = [...Object.keys(policies), "management", "expired"];
/** Secrets that no file holds. */
const others = ["deleted", "unknown"];

/** The corpus has the secret of `node-write` in a request's body. */
const nodeWriteSecret = "00000000-0000-4000-8000-00000007000d";

const secretOfIndex = (index: number): string =>
  `00000000-0000-4000-9000-${String(index).padStart(12, "0")}`;

/** What `{token:NAME}` stands for. */
export const secrets: ReadonlyMap<string, string> = new Map([
  ...[...issued, ...others].map((name, index): [string, string] => [name, secretOfIndex(index)]),
  ["node-write", nodeWriteSecret],
  ["garbage", "not-a-token"],
]);

export const secretOf = (name: string): string => {
  const secret = secrets.get(name);
  if (secret === undefined) throw new RangeError(`no token is named ${name}`);
  return secret;
};

const policyName = (token: string): string => `golden-${token === "expired" ? "full" : token}`;

const entry = (name: string, index: number) => ({
  AccessorID: `00000000-0000-4000-a000-${String(index).padStart(12, "0")}`,
  Name: `golden-${name}`,
  ...(name === "management"
    ? { Type: "management" }
    : { Type: "client", Policies: [policyName(name)] }),
  CreateTime: "2026-11-22T02:46:49.212820204Z",
  ...(name === "expired" ? { ExpirationTime: "2026-01-01T00:00:00Z" } : {}),
  SecretHash: hashSecret(secretOf(name)),
});

export const joinToken = "11111111-0000-4000-9000-000000000001";

export interface AclPaths {
  readonly tokensFile: string;
  readonly policiesDirectory: string;
  readonly joinTokensFile: string;
}

/** Writes them below `directory`. */
export const writeAclFiles = (directory: string): AclPaths => {
  const policiesDirectory = path.join(directory, "policies");
  mkdirSync(policiesDirectory, { recursive: true });
  for (const [name, policy] of Object.entries(policies))
    writeFileSync(path.join(policiesDirectory, `golden-${name}.json`), JSON.stringify(policy));
  const tokensFile = path.join(directory, "tokens.json");
  writeFileSync(tokensFile, JSON.stringify({ tokens: issued.map(entry) }), { mode: 0o600 });
  const joinTokensFile = path.join(directory, "join.json");
  const join = { NodeID: "*", Uses: 10, SecretHash: hashSecret(joinToken) };
  writeFileSync(joinTokensFile, JSON.stringify({ tokens: [join] }), { mode: 0o600 });
  return { tokensFile, policiesDirectory, joinTokensFile };
};
