/** How an HTTP request ends when nobody carried it to its end: refused in plain words, or left by its caller. */
import { writeError } from "../answer.ts";
import { GatewayError } from "../errors.ts";
import { hasBody } from "../http/body.ts";
import { readCredential } from "../http/credential.ts";
import type { Exchange, HttpRequest, HttpResponse } from "../ports.ts";
import { checkRequest } from "./guards.ts";

/** True for a head that means the same to all who read it. */
const isProper = (request: HttpRequest): boolean => {
  try {
    checkRequest(request);
    readCredential(request);
    return true;
  } catch {
    return false;
  }
};

/** A request that is not proper, or whose body nobody read, must not be followed by another on the same connection. */
const isLast = (request: HttpRequest, { code }: GatewayError): boolean =>
  (hasBody(request) && !request.complete) || (code === "bad_request" && !isProper(request));

export const refuse = (request: HttpRequest, response: HttpResponse, error: GatewayError): void => {
  if (error.code === "client_closed" || response.destroyed) return;
  if (!response.headersSent && isLast(request, error)) response.setHeader("Connection", "close");
  writeError(response, error);
};

export const endWithClient = (exchange: Exchange, response: HttpResponse): void => {
  const left = (): void => {
    if (!response.writableFinished) exchange.end(new GatewayError("client_closed"));
  };
  response.once("close", left);
  if (response.destroyed) left();
};
