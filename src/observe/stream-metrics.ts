/** Downloads, follows and execs: kept out of the latency of requests, for they last as long as they last. */
import type { Registry } from "prom-client";
import Counter from "prom-client/lib/counter.js";
import Gauge from "prom-client/lib/gauge.js";
import Histogram from "prom-client/lib/histogram.js";
import type { StreamEnd, StreamKind } from "./labels.ts";
import { cached } from "./series.ts";

const firstByteBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const durationBuckets = [1, 5, 15, 60, 300, 900, 3600, 14_400, 43_200, 86_400];

export interface StreamTotals {
  readonly reason: StreamEnd;
  readonly durationMs: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly firstByteMs: number | undefined;
}

export interface StreamMetrics {
  streamOpened(kind: StreamKind): void;
  /** Once for each opened one, with its whole tally. */
  streamEnded(kind: StreamKind, totals: StreamTotals): void;
}

const kinds: readonly StreamKind[] = ["download", "follow", "exec"];

export const createStreamMetrics = (registry: Registry): StreamMetrics => {
  const registers = [registry];
  const active = new Gauge({
    name: "serai_streams_active",
    help: "Streams open now",
    labelNames: ["kind"],
    registers,
  });
  const firstByte = new Histogram({
    name: "serai_stream_time_to_first_byte_seconds",
    help: "From the request to the first byte of a stream",
    labelNames: ["kind"],
    buckets: firstByteBuckets,
    registers,
  });
  const durations = new Histogram({
    name: "serai_stream_duration_seconds",
    help: "How long streams lasted",
    labelNames: ["kind"],
    buckets: durationBuckets,
    registers,
  });
  const bytes = new Counter({
    name: "serai_stream_bytes_total",
    help: "Bytes of ended streams; in is from the caller",
    labelNames: ["kind", "direction"],
    registers,
  });
  const ends = new Counter({
    name: "serai_stream_ends_total",
    help: "Why streams ended",
    labelNames: ["kind", "reason"],
    registers,
  });
  for (const kind of kinds) active.labels(kind).set(0);

  const of = cached((kind: StreamKind) => ({
    active: active.labels(kind),
    firstByte: firstByte.labels(kind),
    duration: durations.labels(kind),
    bytesIn: bytes.labels(kind, "in"),
    bytesOut: bytes.labels(kind, "out"),
    end: cached((reason: StreamEnd) => ends.labels(kind, reason)),
  }));

  return {
    streamOpened: (kind) => of(kind).active.inc(),
    streamEnded: (kind, totals) => {
      const children = of(kind);
      children.active.dec();
      children.duration.observe(totals.durationMs / 1000);
      children.bytesIn.inc(totals.bytesIn);
      children.bytesOut.inc(totals.bytesOut);
      children.end(totals.reason).inc();
      if (totals.firstByteMs !== undefined) children.firstByte.observe(totals.firstByteMs / 1000);
    },
  };
};
