/** The smallest gateway that serves the ACL routes over a real socket: files, authenticate, answers. */
import { once } from "node:events";
import { type IncomingHttpHeaders, type IncomingMessage, request as send } from "node:http";
import { text } from "node:stream/consumers";
import { createAclAnswers } from "../../src/acl/answers.ts";
import { createAuthenticate } from "../../src/acl/authenticate.ts";
import { type FileSource, openFileSource } from "../../src/acl/file-source.ts";
import type { Issuer } from "../../src/acl/jwt-issuer.ts";
import { createJwtSource } from "../../src/acl/jwt-source.ts";
import { writeError, writeJson } from "../../src/answer.ts";
import { GatewayError } from "../../src/errors.ts";
import { parseQuery } from "../../src/parameters.ts";
import type { Answered, Exchange } from "../../src/ports.ts";
import { routeNamed } from "../../src/routes.ts";
import { type AclDirectory, listen, never, readLog } from "./support.ts";

export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly headerNames: readonly string[];
  readonly body: string;
}

export interface AclGateway extends AsyncDisposable {
  readonly origin: string;
  readonly source: FileSource;
  /** Paths asked for so far. */
  readonly asked: string[];
  send(
    method: string,
    target: string,
    headers: readonly (readonly [string, string])[],
  ): Promise<HttpAnswer>;
  get(target: string, secret?: string): Promise<HttpAnswer>;
}

const routeOf = (path: string): "acl.token.self" | "acl.policies" | "acl.policy" => {
  if (path === "/v1/acl/token/self") return "acl.token.self";
  return path === "/v1/acl/policies" ? "acl.policies" : "acl.policy";
};

const secretOf = ({ headers }: IncomingMessage): string | undefined => {
  const token = headers["x-nomad-token"];
  if (typeof token === "string" && token.trim() !== "") return token.trim();
  return /^bearer (\S+)/i.exec(headers.authorization ?? "")?.[1];
};

const exchangeOf = (request: IncomingMessage, path: string, query: string): Exchange => {
  const route = routeNamed(routeOf(path));
  const secret = secretOf(request);
  const exchange: Partial<Exchange> = {
    route,
    key: decodeURIComponent(path.replace(/^\/v1\/acl\/policy\//, "")),
    raw: parseQuery(query),
    credential: { secret, source: "header" },
    signal: never,
  };
  return exchange as Exchange; // the answers look at nothing else
};

const exchanged = async (
  origin: string,
  method: string,
  target: string,
  headers: readonly (readonly [string, string])[],
): Promise<HttpAnswer> => {
  const own = ["Host", new URL(origin).host, "Connection", "close"];
  const request = send(`${origin}${target}`, { method, headers: [...own, ...headers.flat()] });
  request.end();
  const [response]: IncomingMessage[] = await once(request, "response");
  if (response === undefined) throw new Error("no response");
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    headerNames: response.rawHeaders.filter((_value, index) => index % 2 === 0),
    body: await text(response),
  };
};

export const aclGateway = async (
  files: AclDirectory,
  { enabled = true, issuers = [] as readonly Issuer[] } = {},
): Promise<AclGateway> => {
  const clock = { now: () => Date.now(), monotonic: () => performance.now() };
  const log = readLog();
  const source = await openFileSource({ clock, log }, { ...files, pollMs: 3_600_000 });
  const jwt = createJwtSource({ clock, log, policies: source }, { issuers });
  const authenticate = createAuthenticate(
    { ...source, anonymous: source.anonymous, token: source.token, jwt: jwt.jwt },
    { enabled },
  );
  const answers = createAclAnswers({ source }, { enabled });
  const asked: string[] = [];
  const answer = async (request: IncomingMessage): Promise<Answered> => {
    const [path = "", query = ""] = (request.url ?? "").split("?");
    asked.push(path);
    const exchange = exchangeOf(request, path, query);
    const principal = await authenticate(exchange.credential, exchange.signal);
    return await answers[routeOf(path)](exchange, principal, { kind: "cluster" });
  };
  const server = await listen((request, response) => {
    answer(request).then(
      ({ document, refusal, headers = {} }) => {
        if (refusal) writeError(response, refusal, headers);
        else writeJson(response, document, { headers });
      },
      (error: unknown) =>
        writeError(response, error instanceof GatewayError ? error : new GatewayError("internal")),
    );
  });
  return {
    origin: server.origin,
    source,
    asked,
    send: (method, target, headers) => exchanged(server.origin, method, target, headers),
    get: (target, secret) =>
      exchanged(
        server.origin,
        "GET",
        target,
        secret === undefined ? [] : [["X-Nomad-Token", secret]],
      ),
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      jwt.close();
      await source.close(never);
    },
  };
};
