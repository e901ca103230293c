/** A node's certificate in two files, which a renewal replaces while the process runs. */
import { readFileSync } from "node:fs";
import type { NodeCertificate } from "../tunnel/hello.ts";

/** Reads them at each call; the first one is now, so that files that are not there are told at once. */
export const certificateIn = (
  certFile: string | undefined,
  keyFile: string | undefined,
): (() => NodeCertificate) | undefined => {
  if (certFile === undefined || keyFile === undefined) return undefined;
  const read = (): NodeCertificate => ({
    cert: readFileSync(certFile, "utf8"),
    key: readFileSync(keyFile, "utf8"),
  });
  read();
  return read;
};
