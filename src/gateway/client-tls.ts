/** TLS to those whom the gateway dials: its certificate and the authorities that it trusts, from files. */
import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import { readAuthorities } from "../lib/authorities.ts";
import { tlsOptions } from "../reach/connector.ts";

interface TlsFiles {
  readonly caFile: string | undefined;
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
}

/** PEM texts; undefined: none is shown, or the system's authorities are trusted. */
export interface ClientTls {
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly servername: string;
}

const textOf = (file: string | undefined): string | undefined =>
  file === undefined ? undefined : readFileSync(file, "utf8");

/** Throws for files that a connection could not be made with: `section` is where the settings name them. */
export const readClientTls = (
  section: string,
  { caFile, certFile, keyFile }: TlsFiles,
  servername: string,
): ClientTls => {
  try {
    const tls = { ca: textOf(caFile), cert: textOf(certFile), key: textOf(keyFile), servername };
    if (tls.ca !== undefined) readAuthorities(tls.ca);
    createSecureContext(tlsOptions(tls));
    return tls;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(`the certificates of ${section} cannot be used: ${why}`, { cause: error });
  }
};
