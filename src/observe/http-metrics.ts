/** Requests that are answered at once, and errors by code. */
import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import { type ErrorCode, errorCodes } from "../errors.ts";
import type { Route } from "../routes.ts";
import { methodLabel, routeLabel, statusLabel, streamKindOf, unmatched } from "./labels.ts";
import { cached } from "./series.ts";

/** From OpenTelemetry's, with what an action that waits for processes may take. */
const durationBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
/** Beyond it, requests are counted together: a caller can try every method on every route. */
const maxRequestSeries = 600;

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

/** Three results are enough to time; thirteen buckets of every class would be thousands of series. */
const resultOf = (status: number): "ok" | "refused" | "failed" =>
  status < 400 ? "ok" : status < 500 ? "refused" : "failed";

export const createHttpMetrics = (registry: Registry): HttpMetrics => {
  const registers = [registry];
  const requests = new Counter({
    name: "serai_http_requests_total",
    help: "Requests by route, method and status",
    labelNames: ["route", "method", "code"],
    registers,
  });
  const durations = new Histogram({
    name: "serai_http_request_duration_seconds",
    help: "Time to answer, without streams and blocking queries",
    labelNames: ["route", "result"],
    buckets: durationBuckets,
    registers,
  });
  const inFlight = new Gauge({
    name: "serai_http_requests_in_flight",
    help: "Requests being answered, streams included",
    labelNames: ["route"],
    registers,
  });
  const errors = new Counter({
    name: "serai_errors_total",
    help: "Errors by their code",
    labelNames: ["code"],
    registers,
  });
  for (const code of errorCodes) errors.labels(code).inc(0);

  const countOf = cached(
    (key: string) => {
      const [route = unmatched, method = "OTHER", code = "other"] = key.split(" ");
      return requests.labels(route, method, code);
    },
    maxRequestSeries,
    () => requests.labels("other", "OTHER", "other"),
  );
  const durationOf = cached((key: string) => {
    const [route = unmatched, result = "failed"] = key.split(" ");
    return durations.labels(route, result);
  });
  const inFlightOf = cached((route: string) => inFlight.labels(route));
  const errorOf = cached((code: ErrorCode) => errors.labels(code));

  return {
    requestStarted: (route) => inFlightOf(routeLabel(route)).inc(),
    requestEnded: (route, { method, status, durationMs, waited = false }) => {
      const name = routeLabel(route);
      inFlightOf(name).dec();
      countOf(`${name} ${methodLabel(method)} ${statusLabel(status)}`).inc();
      if (waited || (route !== undefined && streamKindOf(route) !== undefined)) return;
      durationOf(`${name} ${resultOf(status)}`).observe(durationMs / 1000);
    },
    errorSeen: (code) => errorOf(code).inc(),
  };
};
