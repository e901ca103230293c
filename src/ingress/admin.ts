/**
 * The listener for metrics and health. It has its own limits and shares nothing with the public one, so that it answers
 * while that one is flooded.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import express, { type Express, type RequestHandler, type Response } from "express";
import { closeServer, listenOn } from "../http/serving.ts";
import { stringifyJson } from "../lib/json.ts";
import type { Closer, Log } from "../ports.ts";

export type Health =
  | { readonly state: "ok" }
  /** Works, but not as it should. */
  | { readonly state: "degraded"; readonly reason: string }
  /** Must get no requests. */
  | { readonly state: "failed"; readonly reason: string };

export interface HealthCheck {
  readonly name: string;
  readonly check: () => Health | Promise<Health>;
}

export interface AdminNeeds {
  readonly log: Log;
  /** The figures' text and its type. */
  readonly exposition: () => Promise<string>;
  readonly contentType: string;
  readonly checks: readonly HealthCheck[];
  /** What is live now, for people; must hold no secret. */
  readonly live: () => unknown;
}

export interface AdminOptions {
  readonly listen: { readonly host: string; readonly port: number };
  readonly token: string | undefined;
  /** True when only this machine can connect to `listen.host`. */
  readonly loopback: boolean;
}

export interface Admin extends Closer {
  /** As bound: the port is known now. */
  readonly address: AddressInfo;
}

const maxSockets = 64;
const maxHeaderBytes = 8192;
const headersMs = 5000;
const requestMs = 10_000;
const keepAliveMs = 15_000;
const checkMs = 2000;
const maxRequestsPerSocket = 1000;

const digest = (text: string): Buffer => createHash("sha256").update(text).digest();

/** Passes when no token is configured; compares in constant time. */
const authorized = (token: string | undefined): ((header: string | undefined) => boolean) => {
  if (token === undefined) return () => true;
  const wanted = digest(`Bearer ${token}`);
  return (header) => header !== undefined && timingSafeEqual(digest(header), wanted);
};

const answerText = (response: Response, status: number, words: string): void => {
  response.status(status).type("text/plain").send(`${words}\n`);
};

const late: Health = { state: "failed", reason: `no answer within ${checkMs} ms` };

/** A check's own answer, in time; one that throws has failed. */
const settle = async ({ check }: HealthCheck): Promise<Health> => {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<Health>((resolve) => {
    timer = setTimeout(() => resolve(late), checkMs);
  });
  try {
    return await Promise.race([Promise.resolve().then(check), deadline]);
  } catch (error) {
    return { state: "failed", reason: error instanceof Error ? error.message : "unknown error" };
  } finally {
    clearTimeout(timer);
  }
};

const line = (name: string, health: Health): string =>
  health.state === "ok"
    ? `[+] ${name} ok`
    : `[${health.state === "failed" ? "-" : "~"}] ${name} ${health.state}: ${health.reason}`;

const readiness =
  (checks: readonly HealthCheck[], mayRead: (header: string | undefined) => boolean) =>
  async (verbose: boolean, header: string | undefined): Promise<readonly [number, string]> => {
    const healths = await Promise.all(checks.map(settle));
    const ready = healths.every((health) => health.state !== "failed");
    const status = ready ? 200 : 503;
    const words = ready ? "ready" : "not ready";
    if (!verbose || !mayRead(header)) return [status, words];
    const lines = checks.map(({ name }, at) => line(name, healths[at] ?? late));
    return [status, [...lines, words].join("\n")];
  };

const secured: RequestHandler = (_request, response, next) => {
  response.set("X-Content-Type-Options", "nosniff");
  response.set("Cache-Control", "no-store");
  next();
};

const onlyReads: RequestHandler = (request, response, next) => {
  if (request.method === "GET" || request.method === "HEAD") return next();
  response.set("Allow", "GET, HEAD");
  answerText(response, 405, "only GET is answered here");
};

const createApp = (needs: AdminNeeds, { token }: AdminOptions): Express => {
  const mayRead = authorized(token);
  const ready = readiness(needs.checks, mayRead);
  const guarded: RequestHandler = (request, response, next) => {
    if (mayRead(request.headers.authorization)) return next();
    answerText(response, 403, "the admin token is needed: Authorization: Bearer ...");
  };
  const app = express();
  app.disable("x-powered-by");
  app.disable("etag");
  app.set("query parser", "simple");
  app.use(secured, onlyReads);
  app.get("/livez", (_request, response) => answerText(response, 200, "alive"));
  app.get("/readyz", async (request, response) => {
    const verbose = request.query["verbose"] !== undefined;
    const [status, words] = await ready(verbose, request.headers.authorization);
    answerText(response, status, words);
  });
  app.get("/metrics", guarded, async (_request, response) => {
    const text = await needs.exposition();
    response.set("Content-Type", needs.contentType).send(text);
  });
  app.get("/debug/live", guarded, (_request, response) => {
    response.type("application/json").send(stringifyJson(needs.live()));
  });
  app.use((_request, response) => answerText(response, 404, "not found"));
  app.use(failure(needs.log));
  return app;
};

/** Express tells it by its four parameters. */
const failure =
  (log: Log): express.ErrorRequestHandler =>
  (error: unknown, _request, response, _next): void => {
    const status: unknown =
      typeof error === "object" && error !== null && "status" in error ? error.status : undefined;
    const badPath = status === 400; // a path that does not decode
    if (!badPath) log.error({ err: error }, "admin request failed");
    if (response.headersSent) response.destroy();
    else if (badPath) answerText(response, 400, "bad request");
    else answerText(response, 500, "internal error");
  };

/** Refuses to start where strangers could read it without a token. */
export const createAdmin = async (needs: AdminNeeds, options: AdminOptions): Promise<Admin> => {
  if (!options.loopback && options.token === undefined)
    throw new Error("admin.token: is required when admin.listen is not a loopback address");
  const server = createServer(
    {
      maxHeaderSize: maxHeaderBytes,
      headersTimeout: headersMs,
      requestTimeout: requestMs,
      keepAliveTimeout: keepAliveMs,
      connectionsCheckingInterval: 1000,
      insecureHTTPParser: false,
    },
    createApp(needs, options),
  );
  server.maxConnections = maxSockets;
  server.maxRequestsPerSocket = maxRequestsPerSocket;
  server.on("connection", (socket) => socket.on("error", () => socket.destroy()));
  server.on("upgrade", (_request, socket) => socket.destroy());
  server.on("connect", (_request, socket) => socket.destroy());
  const address = await listenOn(server, options.listen.host, options.listen.port);
  server.on("error", (error) => needs.log.error({ err: error }, "admin listener failed"));
  return { address, close: (signal) => closeServer(server, signal) };
};
