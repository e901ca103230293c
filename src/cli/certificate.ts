/** A node's certificate in two files, which a renewal replaces while the process runs. */
import { readFileSync } from "node:fs";
import { readKeyPair } from "../lib/pem-files.ts";
import type { NodeCertificate } from "../tunnel/hello.ts";

/** Reads them at each call; looks at them now, so that files that are not sound are told at once. */
export const certificateIn = (
  certFile: string | undefined,
  keyFile: string | undefined,
): (() => NodeCertificate) | undefined => {
  if (certFile === undefined || keyFile === undefined) return undefined;
  readKeyPair(certFile, keyFile);
  return () => ({
    cert: readFileSync(certFile, "utf8"),
    key: readFileSync(keyFile, "utf8"),
  });
};
