/** Every bound of the Nomad feed, with what it is by default. */
export interface NomadFeedBounds {
  /** A stream without a heartbeat this long after its head was refused: Nomad says 200 all the same. */
  readonly firstBeatMs: number;
  /** Silence longer than this is death; heartbeats come each 30 s. */
  readonly silenceMs: number;
  /** How long the event that was resumed from is waited for; without it, changes may have been missed. */
  readonly resumeMs: number;
  /** A head or a whole page takes no longer. */
  readonly answerTimeoutMs: number;
  /** What is waited for (an allocation, a node's address, why a stream is refused): then the next server is asked. */
  readonly questionTimeoutMs: number;
  readonly minBackoffMs: number;
  readonly maxBackoffMs: number;
  /** A stream that lasted this long starts the back-off anew. */
  readonly steadyMs: number;
  /** Between the starts of two whole lists, at least. */
  readonly relistGapMs: number;
  /** A whole list now and then drops what vanished without an event. */
  readonly relistMs: number;
  readonly perPage: number;
  readonly maxPageBytes: number;
  readonly maxPages: number;
  readonly maxNodeBytes: number;
  readonly maxLineBytes: number;
  /** Changes that may come while one page is on its way. */
  readonly maxPending: number;
  readonly maxNodes: number;
  /** An address that no event told is asked for again after this long. */
  readonly addressTtlMs: number;
  /** A node whose address did not work is asked for at most this often. */
  readonly addressRetryMs: number;
  readonly maxNodeFlights: number;
}

export const defaultBounds: NomadFeedBounds = {
  firstBeatMs: 5_000,
  silenceMs: 45_000,
  resumeMs: 3_000,
  answerTimeoutMs: 60_000,
  questionTimeoutMs: 3_000,
  minBackoffMs: 250,
  maxBackoffMs: 15_000,
  steadyMs: 10_000,
  relistGapMs: 10_000,
  relistMs: 900_000,
  perPage: 5_000,
  maxPageBytes: 64 * 1024 * 1024,
  maxPages: 20_000,
  maxNodeBytes: 4 * 1024 * 1024,
  maxLineBytes: 64 * 1024 * 1024,
  maxPending: 100_000,
  maxNodes: 50_000,
  addressTtlMs: 300_000,
  addressRetryMs: 5_000,
  maxNodeFlights: 256,
};
