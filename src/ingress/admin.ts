/**
 * The listener for metrics and health. It has its own limits and shares nothing with the public one, so that it answers
 * while that one is flooded.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage, RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { queryOf } from "../http/query.ts";
import { closeServer, listenOn } from "../http/serving.ts";
import { stringifyJson } from "../lib/json.ts";
import { createServer } from "../lib/node-http.ts";
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
/** For an answer of which nothing is taken: there are few sockets. */
const stallMs = 5_000;
const checkMs = 2000;
const maxRequestsPerSocket = 1000;

const digest = (text: string): Buffer => createHash("sha256").update(text).digest();

/** Passes when no token is configured; compares in constant time. */
const authorized = (token: string | undefined): ((header: string | undefined) => boolean) => {
  if (token === undefined) return () => true;
  const wanted = digest(`Bearer ${token}`);
  return (header) => header !== undefined && timingSafeEqual(digest(header), wanted);
};

interface Page {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

const textPage = (status: number, words: string): Page => ({
  status,
  type: "text/plain; charset=utf-8",
  body: `${words}\n`,
});

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
  async ({ url = "", headers }: IncomingMessage): Promise<Page> => {
    const healths = await Promise.all(checks.map(settle));
    const ready = healths.every((health) => health.state !== "failed");
    const status = ready ? 200 : 503;
    const words = ready ? "ready" : "not ready";
    if (!queryOf(url).has("verbose") || !mayRead(headers.authorization))
      return textPage(status, words);
    const lines = checks.map(({ name }, at) => line(name, healths[at] ?? late));
    return textPage(status, [...lines, words].join("\n"));
  };

type Answering = (request: IncomingMessage) => Page | Promise<Page>;

const pagesOf = (
  { exposition, contentType, checks, live }: AdminNeeds,
  token: string | undefined,
): Readonly<Record<string, Answering>> => {
  const mayRead = authorized(token);
  const guarded =
    (answer: Answering): Answering =>
    (request) =>
      mayRead(request.headers.authorization)
        ? answer(request)
        : textPage(403, "the admin token is needed: Authorization: Bearer ...");
  return {
    "/livez": () => textPage(200, "alive"),
    "/readyz": readiness(checks, mayRead),
    "/metrics": guarded(async () => ({ status: 200, type: contentType, body: await exposition() })),
    "/debug/live": guarded(() => ({
      status: 200,
      type: "application/json; charset=utf-8",
      body: stringifyJson(live()),
    })),
  };
};

const notFound: Answering = () => textPage(404, "not found");

/** Four pages need no router, and without one the gateway is ready sooner. */
const answerWith = (pages: Readonly<Record<string, Answering>>, log: Log): RequestListener => {
  const pageFor = async (request: IncomingMessage): Promise<Page> => {
    const [target = ""] = (request.url ?? "").split("?", 1);
    const path = target.replace(/\/$/, "");
    const answer = (Object.hasOwn(pages, path) ? pages[path] : undefined) ?? notFound;
    try {
      return await answer(request);
    } catch (err) {
      log.error({ err }, "admin request failed");
      return textPage(500, "internal error");
    }
  };
  return (request, response) => {
    response.setHeader("X-Content-Type-Options", "nosniff");
    response.setHeader("Cache-Control", "no-store");
    const write = ({ status, type, body }: Page): void => {
      response.writeHead(status, {
        "Content-Type": type,
        "Content-Length": Buffer.byteLength(body),
      });
      response.setTimeout(stallMs); // from here: a busy gateway may take its time to make an answer
      response.end(body);
    };
    if (request.method === "GET" || request.method === "HEAD") {
      void pageFor(request).then(write);
      return;
    }
    response.setHeader("Allow", "GET, HEAD");
    write(textPage(405, "only GET is answered here"));
  };
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
    answerWith(pagesOf(needs, options.token), needs.log),
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
