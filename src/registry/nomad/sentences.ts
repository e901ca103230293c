/** What is wrong with a server, in one sentence that says what to do: for the log, and for `/readyz?verbose`. */
import { errnoOf } from "../../errors.ts";

const lookAtAddresses = "check nomad.addresses";
const reachable = (why: string): string =>
  `cannot be reached (${why}): ${lookAtAddresses}, the firewall between, and that the server runs`;
const untrusted =
  "shows a certificate of an authority that is not trusted: set nomad.ca_file to the cluster's CA";
const noTls = `does not speak TLS as expected: ${lookAtAddresses} (http:// or https://)`;
const wantsCertificate =
  "wants a client certificate that it trusts: set nomad.cert_file and nomad.key_file";

const faults: Readonly<Record<string, string>> = {
  ECONNREFUSED: reachable("connection refused"),
  EHOSTUNREACH: reachable("no route to host"),
  ENETUNREACH: reachable("no route to network"),
  ETIMEDOUT: reachable("connect timed out"),
  UND_ERR_CONNECT_TIMEOUT: reachable("connect timed out"),
  ENOTFOUND: reachable("its name cannot be resolved"),
  EAI_AGAIN: reachable("its name cannot be resolved"),
  CERT_HAS_EXPIRED: "shows a certificate that has expired: renew the server's certificate",
  CERT_NOT_YET_VALID: "shows a certificate that is not valid yet: check both machines' clocks",
  DEPTH_ZERO_SELF_SIGNED_CERT: untrusted,
  SELF_SIGNED_CERT_IN_CHAIN: untrusted,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: untrusted,
  UNABLE_TO_GET_ISSUER_CERT: untrusted,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: untrusted,
  ERR_TLS_CERT_ALTNAME_INVALID:
    "shows a certificate for another name than server.<region>.nomad: check region and nomad.addresses",
  EPROTO: noTls,
  ERR_SSL_WRONG_VERSION_NUMBER: noTls,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: noTls,
  ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED: wantsCertificate,
  ERR_SSL_TLSV1_ALERT_UNKNOWN_CA: wantsCertificate,
  ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE: wantsCertificate,
};

const of = (origin: string): string => `the Nomad server at ${origin}`;

/** The connection failed, or broke. */
export const brokenWords = (origin: string, error: unknown): string => {
  const code = errnoOf(error);
  if (code?.startsWith("HPE_"))
    return `${of(origin)} does not speak HTTP as expected: ${lookAtAddresses} (http:// or https://)`;
  const fault = code === undefined ? undefined : faults[code];
  return `${of(origin)} ${fault ?? `broke the connection (${code ?? "unknown reason"}): it is tried again`}`;
};

export const lateWords = (origin: string): string =>
  `${of(origin)} does not answer in time: is it overloaded, or something else at that address?`;

export const webPageWords = (origin: string, status: number): string =>
  `${of(origin)} answers ${status} with a web page: something else is at that address, ${lookAtAddresses}`;

export const garbledWords = (origin: string): string =>
  `${of(origin)} sends an event stream that cannot be read: ${lookAtAddresses} and what lies between (a proxy?)`;

const isForTls = /HTTP request to an HTTPS server/;

export const statusWords = (origin: string, status: number, said: string): string => {
  if (isForTls.test(said)) return `${of(origin)} speaks TLS: use https:// in nomad.addresses`;
  return `${of(origin)} refuses the event stream: ${status} ${said}`.trimEnd();
};

export const silentWords = (origin: string): string =>
  `${of(origin)} fell silent: its stream is opened anew`;

export const endedWords = (origin: string): string =>
  `${of(origin)} ended the event stream: it is opened anew`;

const isWrongRegion = /No path to region/i;

/** A server's own words for a refusal of ours, where we know better what to do. */
export const regionWords = (said: string, region: string | undefined): string | undefined =>
  isWrongRegion.test(said)
    ? `the Nomad servers know no region "${region ?? "global"}": check region`
    : undefined;
