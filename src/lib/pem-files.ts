/** Certificates, keys and authorities in files of PEM, looked at before anybody listens or dials with them. */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { readAuthorities } from "./authorities.ts";
import { readText } from "./text-file.ts";

/** What OpenSSL says of a text names neither the file nor the remedy. */
const within = <T>(file: string, words: string, read: () => T): T => {
  try {
    return read();
  } catch (error) {
    throw new Error(`${file}: ${words}`, { cause: error });
  }
};

const isEncrypted = (pem: string): boolean =>
  /^-----BEGIN ENCRYPTED PRIVATE KEY|^Proc-Type: 4,ENCRYPTED/m.test(pem);

const keyIn = (file: string, pem: string): KeyObject => {
  if (isEncrypted(pem))
    throw new Error(`${file}: the key is encrypted; store it without a passphrase`);
  return within(file, "holds no private key in PEM", () => createPrivateKey(pem));
};

/** Throws one sentence that names the file. */
export const readPrivateKey = (file: string): KeyObject => keyIn(file, readText(file));

export interface KeyPair {
  readonly cert: string;
  readonly key: string;
  /** The first of the chain. */
  readonly certificate: X509Certificate;
}

/** Throws one sentence that names the file at fault. */
export const readKeyPair = (certFile: string, keyFile: string): KeyPair => {
  const cert = readText(certFile);
  const key = readText(keyFile);
  const certificate = within(
    certFile,
    "holds no certificate in PEM",
    () => new X509Certificate(cert),
  );
  if (!certificate.checkPrivateKey(keyIn(keyFile, key)))
    throw new Error(
      `the key of ${keyFile} is not the one of the certificate in ${certFile} (key values mismatch)`,
    );
  return { cert, key, certificate };
};

/** The text of a file of authorities. Throws one sentence that names it. */
export const readAuthorityFile = (file: string): string => {
  const pem = readText(file);
  within(file, "holds no certificate in PEM", () => readAuthorities(pem));
  return pem;
};
