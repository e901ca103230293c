/**
 * The data directory of `serai dev`: `.serai/{gateway,agents/N,log}`. Written once; a second start finds the same secrets,
 * policies and node identities. Settings files are written anew at each start, since ports come from the command line.
 */
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { parse, stringify } from "yaml";
import { mintJoinToken, mintToken } from "../../acl/secrets.ts";

export interface DevOptions {
  readonly directory: string;
  readonly port: number;
  readonly adminPort: number;
  readonly agents: number;
  /** A YAML list of workloads. */
  readonly workloadsFile: string;
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
  readonly gatewayFile: string;
  readonly agentFiles: readonly string[];
  readonly agentLogs: readonly string[];
  readonly logDirectory: string;
  readonly secrets: DevSecrets;
}

const privateMode = 0o600;

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

const identityIn = (directory: string): Identity => {
  const files = {
    tokensFile: path.join(directory, "tokens.yaml"),
    joinFile: path.join(directory, "join-tokens.yaml"),
    policiesDirectory: path.join(directory, "policies"),
  };
  const secretsFile = path.join(directory, "secrets.yaml");
  const secrets: DevSecrets = existsSync(secretsFile)
    ? parse(readFileSync(secretsFile, "utf8"))
    : createIdentity(files, secretsFile);
  return { ...files, secrets };
};

/** Workloads of one agent: those that name it, and the others in turn. */
const workloadsOf = (all: readonly unknown[], agent: number, agents: number): readonly unknown[] =>
  all.flatMap((workload, at) => {
    if (typeof workload !== "object" || workload === null) return agent === 1 ? [workload] : [];
    const { agent: wanted, ...rest } = { agent: (at % agents) + 1, ...workload };
    return Math.min(Number(wanted), agents) === agent ? [rest] : [];
  });

const readWorkloads = (file: string): readonly unknown[] => {
  const list: unknown = parse(readFileSync(file, "utf8"));
  if (!Array.isArray(list)) throw new Error(`${file}: must be a list of workloads`);
  return list;
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

const agentSettings = (
  options: DevOptions,
  directory: string,
  at: number,
  join: string,
  log: string,
  workloads: readonly unknown[],
): object => ({
  name: `dev-agent-${at}`,
  data_dir: directory,
  listen: "127.0.0.1:0",
  meta: { rack: `r${at}` },
  gateway: { address: `http://127.0.0.1:${options.port}`, join_token: join },
  log: { level: "info", file: path.join(log, `agent-${at}.json`) },
  workloads,
});

/** Makes or finds everything a start needs. Throws with a clear sentence when the workloads cannot be read. */
export const prepareHome = (options: DevOptions): DevHome => {
  const root = path.resolve(options.directory);
  const gatewayDirectory = path.join(root, "gateway");
  const logDirectory = path.join(root, "log");
  for (const directory of [gatewayDirectory, logDirectory])
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  const identity = identityIn(gatewayDirectory);
  const gatewayFile = path.join(gatewayDirectory, "serai.yaml");
  writePrivate(
    gatewayFile,
    stringify(gatewaySettings(options, gatewayDirectory, identity, logDirectory)),
  );
  const workloads = readWorkloads(options.workloadsFile);
  const agentFiles = Array.from({ length: options.agents }, (_, index) => {
    const at = index + 1;
    const directory = path.join(root, "agents", String(at));
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const file = path.join(directory, "agent.yaml");
    const own = workloadsOf(workloads, at, options.agents);
    writePrivate(
      file,
      stringify(agentSettings(options, directory, at, identity.secrets.join, logDirectory, own)),
    );
    return file;
  });
  const agentLogs = agentFiles.map((_, index) =>
    path.join(logDirectory, `agent-${index + 1}.json`),
  );
  return { gatewayFile, agentFiles, agentLogs, logDirectory, secrets: identity.secrets };
};
