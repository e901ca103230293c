/** Paths that no table of plain ones has (row-match.ts): an express application made from the route table matches them. */
import type { IncomingMessage, ServerResponse } from "node:http";
import express, { type NextFunction, type Request, type Response } from "express";
import { type GatewayError, notFound, toGatewayError } from "../errors.ts";
import { type Route, routes } from "../routes.ts";
import { bareTrees, redirect, withQuery } from "./redirect.ts";
import type { Visit, Visits } from "./visit.ts";

/** `path`: as readTarget gives it. */
export type Others = (
  visit: Visit,
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
) => void;

const rowsByPath = (): ReadonlyMap<string, readonly Route[]> =>
  Map.groupBy(routes, ({ path }) => path);

/** `*id` of the table takes the rest of the path, also an empty one. */
const toExpressPath = (path: string): string => path.replace("*id", "{*id}");

const idOf = (request: Request): string => {
  const id: string | readonly string[] | undefined = request.params["id"];
  return typeof id === "string" ? id : (id ?? []).join("/");
};

/** What Nomad says below a tree for no route. */
const unknownBelow = [
  ["/v1/client/fs", "Invalid method"],
  ["/v1/client/allocation", "resource not found"],
  ["/v1/allocation", "resource not found"],
] as const;

/** Nomad's own routes that look like a row's id, and are not served. */
const notServed = ["/v1/node/pools", "/v1/node/pool/{*rest}"] as const;

const greeting = "serai: a gateway in front of Nomad client agents. The API is under /v1/.\n";

export const createOthers = ({
  take,
  refuse,
  answered,
}: Pick<Visits, "take" | "refuse" | "answered">): Others => {
  const visits = new WeakMap<IncomingMessage, Visit>();

  /** Once: V8 takes what an old WeakMap holds for alive until its next full collection. */
  const visitOf = (request: IncomingMessage): Visit => {
    const visit = visits.get(request);
    if (visit === undefined) throw new Error("a request that did not arrive");
    visits.delete(request);
    return visit;
  };
  const refused = (request: IncomingMessage, response: ServerResponse, error: GatewayError): void =>
    refuse(visitOf(request), request, response, error);

  const app = express();
  app.set("case sensitive routing", true);
  app.set("strict routing", true);
  app.set("query parser", false);
  app.set("etag", false);
  app.set("x-powered-by", false);
  for (const path of notServed)
    app.all(path, (request, response) => refused(request, response, notFound("")));
  for (const [path, rows] of rowsByPath())
    app.all(toExpressPath(path), (request, response) =>
      take(visitOf(request), { rows, id: idOf(request) }, request, response),
    );
  app.get("/", (request, response) => {
    response.type("text/plain").send(greeting);
    answered(visitOf(request), response);
  });
  for (const tree of bareTrees)
    app.all(tree, (request, response) => {
      const visit = visitOf(request);
      redirect(request, response, withQuery(`${tree}/`, visit.url));
      answered(visit, response);
    });
  for (const [tree, words] of unknownBelow)
    app.all(`${tree}/{*rest}`, (request, response) => refused(request, response, notFound(words)));
  app.use((request, response) => refused(request, response, notFound("")));
  app.use((thrown: unknown, request: Request, response: Response, _next: NextFunction) =>
    refused(request, response, toGatewayError(thrown)),
  );
  return (visit, path, request, response) => {
    visits.set(request, visit);
    request.url = path;
    app(request, response);
  };
};
