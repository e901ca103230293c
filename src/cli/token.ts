/** `serai token`: makes ACL tokens, join tokens for agents, and JWTs for trying an issuer out. */
import type { KeyObject } from "node:crypto";
import { Command, InvalidArgumentError, Option } from "commander";
import type { Algorithm } from "jsonwebtoken";
import { joinTokenFaults } from "../acl/join-tokens.ts";
import { policyNamePattern } from "../acl/policies.ts";
import { appendEntry } from "../acl/secret-file.ts";
import { mintJoinToken, mintToken } from "../acl/secrets.ts";
import { tokenFaults } from "../acl/token-file.ts";
import { parseGoDurationMs } from "../lib/go.ts";
import { readPrivateKey } from "../lib/pem-files.ts";
import { toWords } from "./failures.ts";

const collect = (value: string, before: readonly string[] = []): readonly string[] => [
  ...before,
  value,
];

const policyName = (value: string, before?: readonly string[]): readonly string[] => {
  if (!policyNamePattern.test(value))
    throw new InvalidArgumentError("a policy's name is 1 to 128 letters, digits and hyphens.");
  return collect(value, before);
};

const duration = (value: string): number => {
  const ms = parseGoDurationMs(value);
  if (ms === undefined || ms <= 0)
    throw new InvalidArgumentError("write a duration such as 30m, 12h or 720h.");
  return ms;
};

const uses = (value: string): number => {
  const count = Number(value);
  if (!Number.isInteger(count) || count < 1 || count > 100_000)
    throw new InvalidArgumentError("write a whole number of at least 1.");
  return count;
};

const nodePattern = (value: string): string => {
  const pattern = value.toLowerCase();
  if (!/^[0-9a-f*-]{1,128}$/.test(pattern))
    throw new InvalidArgumentError("write a node's id, or a pattern of it with *.");
  return pattern;
};

/** Runs an action; what goes wrong is one line on stderr and exit status 1. */
const orFail =
  <T>(command: Command, action: (options: T) => void | Promise<void>) =>
  async (options: T): Promise<void> => {
    try {
      await action(options);
    } catch (error) {
      command.error(`error: ${toWords(error).split("\n")[0]}`);
    }
  };

interface CreateOptions {
  readonly type: "client" | "management";
  readonly policy?: readonly string[];
  readonly name?: string;
  readonly ttl?: number;
  readonly file: string;
}

const expiry = (nowMs: number, ttlMs: number | undefined): number | undefined =>
  ttlMs === undefined ? undefined : nowMs + ttlMs;

const create = ({ type, policy = [], name = "", ttl, file }: CreateOptions): void => {
  if (type === "client" && policy.length === 0)
    throw new Error("a client token needs at least one --policy");
  if (type === "management" && policy.length > 0)
    throw new Error("a management token may do everything and takes no --policy");
  const createdAtMs = Date.now();
  const { secretId, entry } = mintToken({
    name,
    type,
    policies: policy,
    createdAtMs,
    expiresAtMs: expiry(createdAtMs, ttl),
  });
  appendEntry(file, "tokens", entry, tokenFaults);
  console.log(`AccessorID  ${entry.AccessorID}`);
  console.log(`SecretID    ${secretId}`);
};

const createCommand = (): Command => {
  const command = new Command("create")
    .description("make an ACL token: prints its secret once, keeps its digest in the tokens file")
    .addOption(
      new Option("--type <type>", "what it may do: its policies, or everything")
        .choices(["client", "management"])
        .default("client"),
    )
    .option("--policy <name>", "a policy it holds (may be repeated)", policyName)
    .option("--name <text>", "a name for people")
    .option("--ttl <duration>", "how long it lives, such as 12h; for good when absent", duration)
    .requiredOption("--file <file>", "the tokens file to add it to");
  return command.action(orFail(command, create));
};

interface JoinOptions {
  readonly node: string;
  readonly uses: number;
  readonly ttl?: number;
  readonly file: string;
}

const join = ({ node, uses: count, ttl, file }: JoinOptions): void => {
  const createdAtMs = Date.now();
  const expiresAtMs = expiry(createdAtMs, ttl);
  const { secret, entry } = mintJoinToken({ node, uses: count, createdAtMs, expiresAtMs });
  appendEntry(file, "tokens", entry, joinTokenFaults);
  console.log(secret);
};

const joinCommand = (): Command => {
  const command = new Command("join")
    .description("make a join token, with which an agent announces its node; prints it once")
    .option("--node <id>", "the node's id, or a pattern with *", nodePattern, "*")
    .option("--uses <count>", "how many different nodes may join with it", uses, 1)
    .option("--ttl <duration>", "how long agents may use it; for good when absent", duration)
    .requiredOption("--file <file>", "the join tokens file to add it to");
  return command.action(orFail(command, join));
};

interface JwtOptions {
  readonly key: string;
  readonly kid?: string;
  readonly alg?: string;
  readonly issuer: string;
  readonly audience: string;
  readonly subject: string;
  readonly ttl: number;
  readonly claim?: readonly string[];
}

const ecAlgorithms: Readonly<Record<string, Algorithm>> = {
  prime256v1: "ES256",
  secp384r1: "ES384",
  secp521r1: "ES512",
};

const algorithms: readonly Algorithm[] = [
  "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
]; // biome-ignore format: a list

const defaultAlgorithm = (key: KeyObject): Algorithm => {
  if (key.asymmetricKeyType === "rsa") return "RS256";
  const algorithm = ecAlgorithms[key.asymmetricKeyDetails?.namedCurve ?? ""];
  if (algorithm === undefined)
    throw new Error("the key must be RSA, or EC on P-256, P-384 or P-521");
  return algorithm;
};

const ownClaims: ReadonlySet<string> = new Set(["iss", "aud", "sub", "iat", "exp"]);

/** `k=v` pairs as claims; a name given more than once becomes a list. */
const claimsOf = (pairs: readonly string[]): Readonly<Record<string, string | string[]>> => {
  const claims = new Map<string, string[]>();
  for (const pair of pairs) {
    const at = pair.indexOf("=");
    if (at < 1) throw new Error(`--claim ${pair}: write it as name=value`);
    const name = pair.slice(0, at);
    if (ownClaims.has(name)) throw new Error(`--claim ${pair}: ${name} has an option of its own`);
    claims.set(name, [...(claims.get(name) ?? []), pair.slice(at + 1)]);
  }
  return Object.fromEntries(
    [...claims].map(([name, values]) => [name, values.length === 1 ? (values[0] ?? "") : values]),
  );
};

const sign = async ({
  key: file,
  kid,
  alg,
  issuer,
  audience,
  subject,
  ttl,
  claim = [],
}: JwtOptions): Promise<void> => {
  const { default: jwt } = await import("jsonwebtoken");
  const key = readPrivateKey(file);
  const chosen = algorithms.find((one) => one === alg) ?? defaultAlgorithm(key);
  const text = jwt.sign(claimsOf(claim), key, {
    algorithm: chosen,
    issuer,
    audience,
    subject,
    expiresIn: Math.max(1, Math.round(ttl / 1_000)),
    ...(kid === undefined ? {} : { keyid: kid }),
  });
  console.log(text);
};

const jwtCommand = (): Command => {
  const command = new Command("jwt")
    .description("sign a JWT with a private key of yours, to try an issuer out")
    .requiredOption("--key <file>", "the private key, a PEM file")
    .option("--kid <id>", "the key's id in the issuer's JWKS")
    .addOption(
      new Option("--alg <algorithm>", "RS256 or by the key's curve when absent").choices(
        algorithms,
      ),
    )
    .requiredOption(
      "--issuer <issuer>",
      "claim `iss`: the issuer, as the gateway's settings name it",
    )
    .requiredOption("--audience <audience>", "claim `aud`: one of its audiences")
    .requiredOption("--subject <subject>", "claim `sub`: whom it is for")
    .addOption(
      new Option("--ttl <duration>", "how long it lives; the gateway accepts a day at most")
        .argParser(duration)
        .default(3_600_000, "1h"),
    )
    .option("--claim <name=value>", "another claim (may be repeated)", collect);
  return command.action(orFail(command, sign));
};

export const tokenCommand = (): Command =>
  new Command("token")
    .description("make ACL tokens, join tokens and JWTs")
    .addCommand(createCommand())
    .addCommand(joinCommand())
    .addCommand(jwtCommand());
