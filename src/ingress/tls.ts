/**
 * The certificate of a listener. It can be read again while sessions live on; a pair that does not fit is refused and
 * the old one stays.
 */
import { constants } from "node:crypto";
import {
  createSecureContext,
  type SecureContextOptions,
  type Server,
  type TlsOptions,
} from "node:tls";
import { readAuthorityFile, readKeyPair } from "../lib/pem-files.ts";
import type { Log } from "../ports.ts";

export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
  /** Callers must show a certificate of these authorities. */
  readonly clientCaFile?: string | undefined;
  /** Nodes may show a certificate of these authorities. */
  readonly nodeCaFile?: string | undefined;
}

export interface TlsNeeds {
  readonly log: Log;
}

export interface TlsContext {
  /** For `https.createServer` and `tls.createServer`. */
  readonly options: TlsOptions;
  /** New handshakes on this server get what a later `reload` reads. */
  attach(server: Server): void;
  /** Reads the files again: true when they were taken, false (told in the log) when the old ones stay. */
  reload(): boolean;
  /** When the certificate in use ends, milliseconds since the epoch. */
  readonly expiresAtMs: number;
}

interface Pair {
  readonly secure: SecureContextOptions;
  readonly expiresAtMs: number;
}

/** Each handshake proves its peer anew: a resumed session would carry on what was proved before, past its expiry. */
const noResumption = { secureOptions: constants.SSL_OP_NO_TICKET } as const;

const authoritiesIn = ({ clientCaFile, nodeCaFile }: TlsFiles): SecureContextOptions => {
  const ca = [clientCaFile, nodeCaFile].filter((file) => file !== undefined).map(readAuthorityFile);
  return ca.length === 0 ? {} : { ca, ...noResumption };
};

/** Throws when the files cannot be read, do not parse or do not belong together. */
const readPair = (files: TlsFiles): Pair => {
  const { cert, key, certificate } = readKeyPair(files.certFile, files.keyFile);
  const authorities = authoritiesIn(files);
  const secure: SecureContextOptions = { cert, key, ...authorities, minVersion: "TLSv1.2" };
  createSecureContext(secure); // what OpenSSL refuses is refused here, not in a handshake
  return { secure, expiresAtMs: certificate.validToDate.getTime() };
};

/** Throws when the first pair is not sound: a listener must not start without it. */
export const createTlsContext = (needs: TlsNeeds, files: TlsFiles): TlsContext => {
  let pair = readPair(files);
  const servers: Server[] = [];
  const tell = (): void => {
    if (pair.expiresAtMs < Date.now())
      needs.log.warn({ file: files.certFile }, "the listener's certificate has expired");
  };
  tell();

  const reload = (): boolean => {
    try {
      const fresh = readPair(files);
      for (const server of servers) server.setSecureContext(fresh.secure);
      pair = fresh;
      tell();
      return true;
    } catch (error) {
      needs.log.error(
        { err: error, file: files.certFile },
        "certificate refused, the old one stays",
      );
      return false;
    }
  };

  return {
    get options() {
      const isRequired = files.clientCaFile !== undefined;
      return {
        ...pair.secure,
        requestCert: isRequired || files.nodeCaFile !== undefined,
        rejectUnauthorized: isRequired,
      };
    },
    get expiresAtMs() {
      return pair.expiresAtMs;
    },
    attach: (server) => {
      servers.push(server);
      server.setSecureContext(pair.secure);
    },
    reload,
  };
};
