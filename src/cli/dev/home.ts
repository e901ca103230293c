/**
 * The data directory of `serai dev`: `.serai/{gateway,agents/N,log}`. Written once; a second start finds the same secrets,
 * policies and node identities. Settings files are written anew at each start, since ports come from the command line.
 */
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { parse, stringify } from "yaml";
import { z } from "zod";
import { mintJoinToken, mintToken } from "../../acl/secrets.ts";

export interface DevOptions {
  readonly directory: string;
  readonly port: number;
  readonly adminPort: number;
  /** Its agents dial out and have no port of their own. */
  readonly tunnel: boolean;
}

export interface DevSecrets {
  readonly management: string;
  readonly operator: string;
  readonly reader: string;
  /** A valid token without any right. */
  readonly none: string;
  readonly join: string;
}

export interface DevHome {
  readonly root: string;
  readonly gatewayFile: string;
  readonly logDirectory: string;
  readonly secrets: DevSecrets;
  readonly tunnel: boolean;
}

const privateMode = 0o600;
const privateDirectoryMode = 0o700;

const policies = {
  operator: {
    namespace: [
      {
        "*": {
          policy: "write",
          capabilities: ["alloc-node-exec", "gc-allocation", "pause-allocation"],
        },
      },
    ],
    node: { policy: "write" },
    agent: { policy: "read" },
  },
  reader: {
    namespace: [{ default: { policy: "read", capabilities: ["read-logs", "read-fs"] } }],
    node: { policy: "read" },
  },
  none: { namespace: [{ "no-namespace": { policy: "deny" } }] },
} as const;

const writePrivate = (file: string, text: string): void => {
  writeFileSync(file, text, { mode: privateMode });
  chmodSync(file, privateMode);
};

const newToken = (name: keyof Omit<DevSecrets, "join">): ReturnType<typeof mintToken> =>
  mintToken({
    name: `dev ${name}`,
    type: name === "management" ? "management" : "client",
    policies: name === "management" ? [] : [name],
    createdAtMs: Date.now(),
    expiresAtMs: undefined,
  });

interface Identity {
  readonly secrets: DevSecrets;
  readonly tokensFile: string;
  readonly joinFile: string;
  readonly policiesDirectory: string;
}

const createIdentity = (files: Omit<Identity, "secrets">, secretsFile: string): DevSecrets => {
  const tokens = {
    management: newToken("management"),
    operator: newToken("operator"),
    reader: newToken("reader"),
    none: newToken("none"),
  };
  const join = mintJoinToken({
    node: "*",
    uses: 1_000,
    createdAtMs: Date.now(),
    expiresAtMs: undefined,
  });
  const secrets: DevSecrets = {
    management: tokens.management.secretId,
    operator: tokens.operator.secretId,
    reader: tokens.reader.secretId,
    none: tokens.none.secretId,
    join: join.secret,
  };
  mkdirSync(files.policiesDirectory, { recursive: true });
  for (const [name, policy] of Object.entries(policies))
    writePrivate(path.join(files.policiesDirectory, `${name}.yaml`), stringify(policy));
  writePrivate(
    files.tokensFile,
    stringify({ tokens: Object.values(tokens).map(({ entry }) => entry) }),
  );
  writePrivate(files.joinFile, stringify({ tokens: [join.entry] }));
  writePrivate(secretsFile, stringify(secrets)); // last: its presence says that all is there
  return secrets;
};

const secretsSchema = z.object({
  management: z.string(),
  operator: z.string(),
  reader: z.string(),
  none: z.string(),
  join: z.string(),
});

const readSecrets = (file: string): DevSecrets => {
  const { data } = secretsSchema.safeParse(parse(readFileSync(file, "utf8")));
  if (data === undefined)
    throw new Error(`${file} is damaged; remove ${path.resolve(file, "../..")} to start anew`);
  return data;
};

const identityIn = (directory: string): Identity => {
  const files = {
    tokensFile: path.join(directory, "tokens.yaml"),
    joinFile: path.join(directory, "join-tokens.yaml"),
    policiesDirectory: path.join(directory, "policies"),
  };
  const secretsFile = path.join(directory, "secrets.yaml");
  const secrets = existsSync(secretsFile)
    ? readSecrets(secretsFile)
    : createIdentity(files, secretsFile);
  return { ...files, secrets };
};

const gatewaySettings = (
  options: DevOptions,
  directory: string,
  identity: Identity,
  log: string,
): object => ({
  name: "serai-dev",
  data_dir: directory,
  http: { listen: `127.0.0.1:${options.port}` },
  admin: { listen: `127.0.0.1:${options.adminPort}` },
  acl: {
    tokens_file: identity.tokensFile,
    policies_dir: identity.policiesDirectory,
    join_tokens_file: identity.joinFile,
  },
  reach: { allow: ["127.0.0.0/8"] },
  timeouts: { drain: "1s", drain_delay: "0s" },
  audit: { output: path.join(log, "audit.json") },
  log: { level: "info", file: path.join(log, "gateway.json") },
});

/** The gateway's, which `serai server` might be given too. */
export const gatewayDirectoryIn = (root: string): string => path.join(root, "gateway");

/** Makes or finds what the gateway needs. Throws with a sentence when the directory cannot be used. */
export const prepareHome = (options: DevOptions): DevHome => {
  const root = path.resolve(options.directory);
  const gatewayDirectory = gatewayDirectoryIn(root);
  const logDirectory = path.join(root, "log");
  for (const directory of [gatewayDirectory, logDirectory])
    mkdirSync(directory, { recursive: true, mode: privateDirectoryMode });
  const identity = identityIn(gatewayDirectory);
  const gatewayFile = path.join(gatewayDirectory, "serai.yaml");
  writePrivate(
    gatewayFile,
    stringify(gatewaySettings(options, gatewayDirectory, identity, logDirectory)),
  );
  return { root, gatewayFile, logDirectory, secrets: identity.secrets, tunnel: options.tunnel };
};

export interface AgentFiles {
  readonly name: string;
  readonly settings: string;
  readonly log: string;
}

/** Writes an agent's settings; it needs the gateway's real address, so it is called when that listens. */
export const prepareAgent = (
  { root, logDirectory, secrets, tunnel }: DevHome,
  at: number,
  gatewayUrl: string,
  workloads: readonly unknown[],
): AgentFiles => {
  const directory = path.join(root, "agents", String(at));
  mkdirSync(directory, { recursive: true, mode: privateDirectoryMode });
  const settings = path.join(directory, "agent.yaml");
  const log = path.join(logDirectory, `agent-${at}.json`);
  const name = `dev-agent-${at}`;
  writePrivate(
    settings,
    stringify({
      name,
      data_dir: directory,
      listen: "127.0.0.1:0",
      meta: { rack: `r${at}` },
      gateway: { address: gatewayUrl, join_token: secrets.join, tunnel },
      log: { level: "info", file: log },
      workloads,
    }),
  );
  return { name, settings, log };
};
