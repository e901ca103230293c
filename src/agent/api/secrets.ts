/** The pull secrets of the gateway: the newest two hold, so that a beat in flight breaks nothing. */
import { createHash, timingSafeEqual } from "node:crypto";

export interface PullSecrets {
  add(secret: string): void;
  has(secret: string | undefined): boolean;
}

const kept = 2;
const digest = (text: string): Buffer => createHash("sha256").update(text).digest();

export const createPullSecrets = (): PullSecrets => {
  let digests: readonly Buffer[] = [];
  return {
    add(secret) {
      const added = digest(secret);
      const others = digests.filter((known) => !timingSafeEqual(known, added));
      digests = [added, ...others].slice(0, kept);
    },
    has(secret) {
      if (secret === undefined) return false;
      const asked = digest(secret);
      // every one is compared, so that the time does not tell which
      return digests.filter((known) => timingSafeEqual(known, asked)).length > 0;
    },
  };
};
