/** CORS as Nomad's agents have it (nomad-http.md §1.11): on the node-bound trees only, for reads, with any origin. */
import type { HttpRequest, HttpResponse } from "../ports.ts";
import { isRead } from "./guards.ts";

const corsTrees = /^\/v1\/client\/(?:fs\/|allocation\/|stats$|metadata$)/;

const vary = ["Accept-Encoding", "Origin"];
const preflightVary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";

const allowAnyOrigin = (response: HttpResponse): void => {
  response.setHeader("Access-Control-Allow-Origin", "*");
  response.setHeader("Access-Control-Allow-Credentials", "true");
};

const answerPreflight = (request: HttpRequest, response: HttpResponse): void => {
  response.setHeader("Vary", ["Accept-Encoding", preflightVary]);
  const asked = request.headers["access-control-request-method"];
  if (isRead(asked) && request.headers.origin !== undefined) {
    allowAnyOrigin(response);
    response.setHeader("Access-Control-Allow-Methods", asked ?? "");
    const headers = request.headers["access-control-request-headers"];
    if (headers !== undefined) response.setHeader("Access-Control-Allow-Headers", headers);
  }
  response.writeHead(204);
  response.end();
};

/** Sets `Vary` and the CORS headers; true when the request was a preflight and is answered. */
export const applyCors = (request: HttpRequest, response: HttpResponse, path: string): boolean => {
  if (!corsTrees.test(path)) {
    response.setHeader("Vary", "Accept-Encoding");
    return false;
  }
  const { method } = request;
  if (method === "OPTIONS" && request.headers["access-control-request-method"] !== undefined) {
    answerPreflight(request, response);
    return true;
  }
  response.setHeader("Vary", vary);
  if (request.headers.origin !== undefined && (isRead(method) || method === "OPTIONS"))
    allowAnyOrigin(response);
  return false;
};
