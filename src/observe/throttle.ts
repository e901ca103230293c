/** A token bucket for each class of line, so that a flood of one kind neither fills the disk nor hides the others. */

export interface ThrottleOptions {
  readonly perSecond: number;
  /** Monotonic milliseconds. */
  readonly now: () => number;
}

interface Bucket {
  tokens: number;
  filledAtMs: number;
  suppressed: number;
}

export interface Suppressed {
  readonly name: string;
  readonly count: number;
}

export interface Throttle {
  /** False: this one is to be left out; it is counted. */
  admit(name: string): boolean;
  /** What was left out since the last call. */
  take(): readonly Suppressed[];
}

const maxClasses = 512;
const other = "other";
const burstSeconds = 2;

export const createThrottle = ({ perSecond, now }: ThrottleOptions): Throttle => {
  const burst = perSecond * burstSeconds;
  const buckets = new Map<string, Bucket>();

  const bucketOf = (name: string): Bucket => {
    const key = buckets.has(name) || buckets.size < maxClasses ? name : other;
    const known = buckets.get(key);
    if (known !== undefined) return known;
    const fresh = { tokens: burst, filledAtMs: now(), suppressed: 0 };
    buckets.set(key, fresh);
    return fresh;
  };

  const admit = (name: string): boolean => {
    const bucket = bucketOf(name);
    const at = now();
    bucket.tokens = Math.min(burst, bucket.tokens + ((at - bucket.filledAtMs) / 1000) * perSecond);
    bucket.filledAtMs = at;
    if (bucket.tokens < 1) {
      bucket.suppressed++;
      return false;
    }
    bucket.tokens--;
    return true;
  };

  const take = (): readonly Suppressed[] => {
    const taken = [...buckets]
      .filter(([, bucket]) => bucket.suppressed > 0)
      .map(([name, bucket]) => ({ name, count: bucket.suppressed }));
    for (const bucket of buckets.values()) bucket.suppressed = 0;
    return taken;
  };

  return { admit, take };
};
