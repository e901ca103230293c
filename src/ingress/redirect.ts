/** Nomad's redirects (nomad-http.md §1.2): to the cleaned path, and from a bare tree to itself with a slash. */
import type { HttpRequest, HttpResponse } from "../ports.ts";
import { isRead } from "./guards.ts";

/** Trees whose bare name redirects. */
export const bareTrees = [
  "/v1/client/fs",
  "/v1/client/allocation",
  "/v1/allocation",
  "/v1/node",
] as const;

/** The path with the query of a target. */
export const withQuery = (path: string, url: string): string => {
  const mark = url.indexOf("?");
  const query = mark < 0 ? "" : url.slice(mark);
  return query === "?" ? path : path + query;
};

export const redirect = (request: HttpRequest, response: HttpResponse, location: string): void => {
  const reads = isRead(request.method);
  const escaped = location
    .replaceAll("&", "&amp;")
    .replaceAll('"', "&#34;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;");
  const body = reads ? `<a href="${escaped}">Temporary Redirect</a>.\n\n` : "";
  response.writeHead(307, {
    ...(reads ? { "Content-Type": "text/html; charset=utf-8" } : {}),
    Location: location,
    "Content-Length": Buffer.byteLength(body),
  });
  response.end(request.method === "HEAD" ? undefined : body);
};
