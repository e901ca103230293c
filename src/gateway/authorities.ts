/** A file of authorities, read again at SIGHUP. */
import type { X509Certificate } from "node:crypto";
import { readAuthorities } from "../lib/authorities.ts";
import { readAuthorityFile } from "../lib/pem-files.ts";
import type { Log } from "../ports.ts";

export interface Authorities {
  readonly current: readonly X509Certificate[];
  /** False (told in the log) when the file is not sound; those before stay. */
  reload(): boolean;
}

/** Undefined without a file. Throws when it cannot be read or holds no certificates. */
export const openAuthorities = (log: Log, file: string | undefined): Authorities | undefined => {
  if (file === undefined) return undefined;
  const read = () => readAuthorities(readAuthorityFile(file));
  let current = read();
  return {
    get current() {
      return current;
    },
    reload: () => {
      try {
        current = read();
        return true;
      } catch (err) {
        log.error({ err, file }, "authorities refused, those before stay");
        return false;
      }
    },
  };
};
