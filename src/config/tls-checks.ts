/** What settings of certificates and of TLS need of each other, at gateway, agent and connector. */
import { isLoopback } from "../lib/addresses.ts";
import type { Check } from "./sound.ts";

interface Tls {
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
  readonly clientCaFile: string | undefined;
}

/** A certificate without its key, or the other way round. */
export const isHalf = ({ certFile, keyFile }: Pick<Tls, "certFile" | "keyFile">): boolean =>
  (certFile === undefined) !== (keyFile === undefined);

/** Of a listener. */
export const tlsChecks: readonly Check<[Tls]>[] = [
  (tls) => isHalf(tls) && "tls.cert_file: needs tls.key_file, and the other way round",
  ({ certFile, clientCaFile }) =>
    clientCaFile !== undefined &&
    certFile === undefined &&
    "tls.client_ca_file: needs tls.cert_file and tls.key_file",
];

const plainOnes = (gateways: readonly string[]): readonly URL[] =>
  gateways.map((gateway) => new URL(gateway)).filter(({ protocol }) => protocol === "http:");

/** Hosts of those origins to which no certificate can be shown. */
export const withoutTls = (gateways: readonly string[]): readonly string[] =>
  plainOnes(gateways).map(({ host }) => host);

/** Hosts of those origins that are other machines without TLS. */
export const inTheClear = (gateways: readonly string[]): readonly string[] =>
  plainOnes(gateways)
    .filter(({ hostname }) => !isLoopback(hostname))
    .map(({ host }) => host);
