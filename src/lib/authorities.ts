/** Authorities of certificates, and who was certified by which: TLS tells that a chain is good, not where it ends. */
import { X509Certificate } from "node:crypto";

const block = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g;

/** Throws when the text holds no certificate or one that is none. */
export const readAuthorities = (pem: string): readonly X509Certificate[] => {
  const found = (pem.match(block) ?? []).map((text) => new X509Certificate(text));
  if (found.length === 0) throw new Error("no certificate in PEM");
  return found;
};

/** True when one of the authorities has itself issued the certificate; node shows a server no intermediates. */
export const isIssuedBy = (
  certificate: X509Certificate,
  authorities: readonly X509Certificate[],
): boolean =>
  authorities.some((one) => certificate.checkIssued(one) && certificate.verify(one.publicKey));
