/** What the settings of a listener's certificate need of each other, at a gateway and at an agent. */
import type { Check } from "./sound.ts";

interface Tls {
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
  readonly clientCaFile: string | undefined;
}

/** A certificate without its key, or the other way round. */
export const isHalf = ({ certFile, keyFile }: Pick<Tls, "certFile" | "keyFile">): boolean =>
  (certFile === undefined) !== (keyFile === undefined);

export const tlsChecks: readonly Check<[Tls]>[] = [
  (tls) => isHalf(tls) && "tls.cert_file: needs tls.key_file, and the other way round",
  ({ certFile, clientCaFile }) =>
    clientCaFile !== undefined &&
    certFile === undefined &&
    "tls.client_ca_file: needs tls.cert_file and tls.key_file",
];
