/** Signature algorithms that can be configured: asymmetric ones alone, so that no key that verifies can also sign. */
export const algorithms = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
] as const;
