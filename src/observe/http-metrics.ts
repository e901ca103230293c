/** Requests that are answered at once, and errors by code. */
import type { Registry } from "prom-client";
import Counter from "prom-client/lib/counter.js";
import Gauge from "prom-client/lib/gauge.js";
import { type ErrorCode, errorCodes } from "../errors.ts";
import type { Route } from "../routes.ts";
import { methodLabel, routeLabel, statusLabel, streamKindOf } from "./labels.ts";
import { type Cell, cached, countCells, createCells } from "./series.ts";
import { Timings } from "./timings.ts";

/** OpenTelemetry's, fewer of the short ones, with what an action that waits for processes may take. */
const durationBuckets = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60];
/**
 * Of one route; beyond it its requests are counted together: a caller can try every method, an agent every status. Failures
 * apart, or a caller who has tried enough of them would hide every failure that comes later from the alerts.
 */
const maxSeriesOfRoute = 12;
const firstFailure = 500;

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
type Result = "ok" | "refused" | "failed";
const resultOf = (status: number): Result =>
  status < 400 ? "ok" : status < 500 ? "refused" : "failed";

interface RequestLabels {
  readonly route: string;
  readonly method: string;
  readonly code: string;
}

/** The cell of a method and status of one route; a bounded number of them. */
const endedOf = (route: string, cell: (labels: RequestLabels) => Cell<RequestLabels>) => {
  const methods = cached((_method: string) => new Map<string, Cell<RequestLabels>>());
  const rest = cached((code: "5xx" | "other") => cell({ route, method: "OTHER", code }));
  let count = 0;
  return (method: string, status: number): Cell<RequestLabels> => {
    const codes = methods(method);
    const code = statusLabel(status);
    const known = codes.get(code);
    if (known !== undefined) return known;
    if (count === maxSeriesOfRoute) return rest(status >= firstFailure ? "5xx" : "other");
    count++;
    const fresh = cell({ route, method, code });
    codes.set(code, fresh);
    return fresh;
  };
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
  const durations = new Timings({
    name: "serai_http_request_duration_seconds",
    help: "Time to answer, without streams and blocking queries",
    labelNames: ["route", "result"],
    buckets: durationBuckets,
    registers,
  });

  const ofPath = cached((route: string) => ({
    flying: flying.cell({ route }),
    ended: endedOf(route, ended.cell),
    duration: cached((result: Result) => durations.series({ route, result })),
  }));
  return cached((route: Route | undefined) => ({
    ...ofPath(routeLabel(route)),
    isStream: route !== undefined && streamKindOf(route) !== undefined,
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
      of(route).flying.value++;
    },
    requestEnded: (route, { method, status, durationMs, waited = false }) => {
      const series = of(route);
      series.flying.value--;
      series.ended(methodLabel(method), status).value++;
      if (!waited && !series.isStream) series.duration(resultOf(status))(durationMs / 1000);
    },
    errorSeen: (code) => errorOf(code).inc(),
  };
};
