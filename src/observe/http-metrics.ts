/** Requests that are answered at once, and errors by code. */
import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import { type ErrorCode, errorCodes } from "../errors.ts";
import type { Route } from "../routes.ts";
import { methodLabel, routeLabel, statusLabel, streamKindOf } from "./labels.ts";
import { type Cell, cached, countCells, createCells } from "./series.ts";

/** OpenTelemetry's, fewer of the short ones, with what an action that waits for processes may take. */
const durationBuckets = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60];
/** Of one route; beyond it its requests are counted together: a caller can try every method, an agent every status. */
const maxSeriesOfRoute = 12;

export interface RequestEnd {
  readonly method: string;
  readonly status: number;
  readonly durationMs: number;
  /** A blocking query: it took as long as the caller asked it to wait. */
  readonly waited?: boolean;
}

export interface HttpMetrics {
  requestStarted(route: Route | undefined): void;
  /** Once for each started one. */
  requestEnded(route: Route | undefined, end: RequestEnd): void;
  /** One error that a caller was told, or that ended an exchange. */
  errorSeen(code: ErrorCode): void;
}

/** Three results are enough to time; ten buckets of every class would be thousands of series. */
const resultOf = (status: number): "ok" | "refused" | "failed" =>
  status < 400 ? "ok" : status < 500 ? "refused" : "failed";

interface RequestLabels {
  readonly route: string;
  readonly method: string;
  readonly code: string;
}

/** The cell of a method and status of one route; a bounded number of them. */
const endedOf = (route: string, cell: (labels: RequestLabels) => Cell<RequestLabels>) => {
  const of = cached(
    (key: string) => {
      const [method = "OTHER", code = "other"] = key.split(" ");
      return cell({ route, method, code });
    },
    maxSeriesOfRoute,
    () => cell({ route, method: "OTHER", code: "other" }),
  );
  return (method: string, status: number): Cell<RequestLabels> =>
    of(`${methodLabel(method)} ${statusLabel(status)}`);
};

/** Everything counted of one route. */
const createRouteSeries = (registry: Registry) => {
  const registers = [registry];
  const ended = createCells<RequestLabels>();
  const flying = createCells<{ readonly route: string }>();
  new Counter({
    name: "serai_http_requests_total",
    help: "Requests by route, method and status",
    labelNames: ["route", "method", "code"],
    registers,
    collect: countCells(ended.all),
  });
  new Gauge({
    name: "serai_http_requests_in_flight",
    help: "Requests being answered, streams included",
    labelNames: ["route"],
    registers,
    collect() {
      for (const { labels, value } of flying.all) this.set(labels, value);
    },
  });
  const durations = new Histogram({
    name: "serai_http_request_duration_seconds",
    help: "Time to answer, without streams and blocking queries",
    labelNames: ["route", "result"],
    buckets: durationBuckets,
    registers,
  });

  return cached((route: string) => ({
    flying: flying.cell({ route }),
    ended: endedOf(route, ended.cell),
    duration: cached((result: ReturnType<typeof resultOf>) => durations.labels(route, result)),
  }));
};

export const createHttpMetrics = (registry: Registry): HttpMetrics => {
  const errors = new Counter({
    name: "serai_errors_total",
    help: "Errors by their code",
    labelNames: ["code"],
    registers: [registry],
  });
  for (const code of errorCodes) errors.labels(code).inc(0);
  const errorOf = cached((code: ErrorCode) => errors.labels(code));
  const of = createRouteSeries(registry);

  return {
    requestStarted: (route) => {
      of(routeLabel(route)).flying.value++;
    },
    requestEnded: (route, { method, status, durationMs, waited = false }) => {
      const series = of(routeLabel(route));
      series.flying.value--;
      series.ended(method, status).value++;
      if (waited || (route !== undefined && streamKindOf(route) !== undefined)) return;
      series.duration(resultOf(status)).observe(durationMs / 1000);
    },
    errorSeen: (code) => errorOf(code).inc(),
  };
};
