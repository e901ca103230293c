/**
 * Join tokens: what an agent proves itself with when it announces its node. The file is the operator's (`serai token join`
 * writes it); which nodes used which token is kept in a file beside it that the gateway alone writes, so that the two never
 * overwrite each other.
 */
import { statSync } from "node:fs";
import { z } from "zod";
import type { Clock } from "../ports.ts";
import { type Claims, ClaimsFile } from "./claims-file.ts";
import { globMatcher } from "./glob.ts";
import { readDocument } from "./policy-text.ts";
import { readIfThere } from "./secret-file.ts";
import { hashSecret, maxSecretBytes, sameHash, secretHashPattern } from "./secrets.ts";

const time = z.iso.datetime({ offset: true });

const joinToken = z.strictObject({
  /** A node's id, or a pattern with `*`. */
  NodeID: z
    .string()
    .min(1)
    .max(128)
    .regex(/^[0-9a-f*-]+$/, "must be a node's id in lower case, or a pattern of it with *"),
  /** How many different nodes may join with it. */
  Uses: z.int().min(1).max(100_000),
  CreateTime: time.nullish(),
  ExpirationTime: time.nullish(),
  SecretHash: z.string().regex(secretHashPattern, "must be sha256:<64 hexadecimal digits>"),
});

const joinFile = z.strictObject({ tokens: z.array(joinToken).max(10_000).nullish() });
const claimsFile = z.strictObject({ claims: z.record(z.string(), z.array(z.string())) });

type JoinToken = z.output<typeof joinToken>;

/** A file of join tokens that cannot be used; the message names the file and each fault. */
export class JoinTokensError extends Error {
  override readonly name = "JoinTokensError";
}

const parse = <T>(file: string, text: string, schema: z.ZodType<T>): T => {
  const document = readDocument(text);
  if (!document.ok) throw new JoinTokensError(`${file}: ${document.text}`);
  const parsed = schema.safeParse(document.value ?? {});
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
  throw new JoinTokensError(`${file}: ${faults.join("; ")}`);
};

/** What is wrong with the text of a file of join tokens. */
export const joinTokenFaults = (text: string): readonly string[] => {
  try {
    parse("the file's join tokens", text, joinFile);
    return [];
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)];
  }
};

type TokensByHash = ReadonlyMap<string, JoinToken>;

/** Of two with one secret the first counts. */
const readTokens = (file: string): TokensByHash => {
  const tokens = parse(file, readIfThere(file) ?? "", joinFile).tokens ?? [];
  return new Map(tokens.toReversed().map((token) => [token.SecretHash, token]));
};

/** Any other error may pass by itself. */
const orFault = <T>(read: () => T): T | JoinTokensError => {
  try {
    return read();
  } catch (error) {
    if (error instanceof JoinTokensError) return error;
    throw error;
  }
};

/** Reads the file again only when it has changed: announcements come often. One that does not parse is refused until then. */
const createReader = (file: string): (() => TokensByHash) => {
  let stamp = "";
  let read: TokensByHash | JoinTokensError = new Map();
  return () => {
    const found = statSync(file, { bigint: true, throwIfNoEntry: false });
    const now = found ? `${found.mtimeNs} ${found.size} ${found.ino}` : "none";
    if (now !== stamp) {
      read = orFault(() => readTokens(file));
      stamp = now;
    }
    if (read instanceof JoinTokensError) throw read;
    return read;
  };
};

const claimsPath = (file: string): string => `${file}.claims`;

const readClaims = (file: string): Claims => {
  const text = readIfThere(claimsPath(file));
  if (text === undefined) return new Map();
  const { claims } = parse(claimsPath(file), text, claimsFile);
  return new Map(Object.entries(claims).map(([hash, nodes]) => [hash, new Set(nodes)]));
};

export interface JoinTokens {
  /**
   * Resolves with true when the node may announce itself with this secret. A node's first claim uses one of the token's uses,
   * and is on disk by then; later claims of the same node use none, and write nothing. Expired tokens and foreign ids are
   * refused. Rejects with JoinTokensError, or the system's error when a claim cannot be kept.
   */
  claim(secret: string, nodeId: string): Promise<boolean>;
  /** True when the node has joined with this secret and still may. Throws JoinTokensError. */
  holds(secret: string, nodeId: string): boolean;
}

export interface JoinTokensOptions {
  readonly file: string;
}

/** Looks at the file at each claim, so that a new token works at once and a removed one no longer. Throws JoinTokensError. */
export const createJoinTokens = (
  { clock }: { readonly clock: Clock },
  { file }: JoinTokensOptions,
): JoinTokens => {
  const currentTokens = createReader(file);
  currentTokens();
  const claims = new ClaimsFile({
    file: claimsPath(file),
    claims: readClaims(file),
    known: () => new Set(currentTokens().keys()),
  });

  const inForce = ({ ExpirationTime }: JoinToken): boolean =>
    !ExpirationTime || Date.parse(ExpirationTime) > clock.now();

  /** The token that a secret is, if it is one for that node. */
  const tokenFor = (secret: string, id: string): JoinToken | undefined => {
    if (secret === "" || secret.length > maxSecretBytes) return undefined;
    const presented = hashSecret(secret);
    const token = currentTokens().get(presented);
    if (token === undefined || !sameHash(token.SecretHash, presented)) return undefined;
    return inForce(token) && globMatcher(token.NodeID)(id) ? token : undefined;
  };

  const holds = (secret: string, nodeId: string): boolean => {
    const id = nodeId.toLowerCase();
    const token = tokenFor(secret, id);
    return token !== undefined && claims.has(token.SecretHash, id);
  };

  return {
    async claim(secret, nodeId) {
      const id = nodeId.toLowerCase();
      const token = tokenFor(secret, id);
      if (token === undefined) return false;
      if (claims.has(token.SecretHash, id)) return true;
      if (!(await claims.claim(token.SecretHash, id, token.Uses))) return false;
      return holds(secret, id); // it may have been taken back while the claim was being written
    },
    holds,
  };
};
