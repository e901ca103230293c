/** Keys of an issuer as settings give them: in PEM, or in a JWKS file. What cannot be used is told before anybody shows a token. */
import { createPublicKey, type KeyObject } from "node:crypto";
import { isJsonObject, type JsonObject, parseJson } from "../lib/json.ts";
import { readText } from "../lib/text-file.ts";

export interface IssuerKey {
  readonly key: KeyObject;
  /** The one algorithm the key says it is for. */
  readonly algorithm: string | undefined;
}

export const minRsaBits = 2048;
const maxKeys = 64;

/** A key that may sign for somebody; undefined when it is too weak or of another kind. */
export const usable = (pem: string, algorithm: string | undefined): IssuerKey | undefined => {
  const key = createPublicKey(pem);
  const { modulusLength } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === "ec") return { key, algorithm };
  const isRsa = key.asymmetricKeyType === "rsa" || key.asymmetricKeyType === "rsa-pss";
  return isRsa && (modulusLength ?? 0) >= minRsaBits ? { key, algorithm } : undefined;
};

const publicKey = (pem: string): IssuerKey => {
  if (pem.includes("PRIVATE KEY")) throw new Error("public_keys holds a private key");
  let key: IssuerKey | undefined;
  try {
    key = usable(pem, undefined);
  } catch (error) {
    throw new Error("public_keys holds what is no public key in PEM", { cause: error });
  }
  if (key === undefined)
    throw new Error(`a public key must be EC, or RSA of ${minRsaBits} bits or more`);
  return key;
};

/** Throws for one that cannot be used. */
export const publicKeysIn = (pems: readonly string[]): readonly IssuerKey[] => pems.map(publicKey);

/** The members of a JSON Web Key Set. Throws for a text that is none. */
export const jwksIn = (text: string): readonly JsonObject[] => {
  const document = parseJson(text);
  if (!isJsonObject(document) || !Array.isArray(document["keys"]))
    throw new Error("the JWKS has no list of keys");
  return document["keys"].slice(0, maxKeys).filter((key) => isJsonObject(key));
};

const checkJwksFile = (file: string): void => {
  const text = readText(file);
  try {
    jwksIn(text);
  } catch (error) {
    throw new Error(`${file}: holds no JWKS, a JSON object with a list of keys`, { cause: error });
  }
};

interface GivenKeys {
  readonly issuer: string;
  readonly jwksFile?: string | undefined;
  readonly publicKeys?: readonly string[];
}

/** Throws one sentence, which names the issuer, for keys in settings that cannot be used. */
export const checkIssuerKeys = ({ issuer, jwksFile, publicKeys = [] }: GivenKeys): void => {
  try {
    publicKeysIn(publicKeys);
    if (jwksFile !== undefined) checkJwksFile(jwksFile);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(`${issuer}: ${why}`, { cause: error });
  }
};
