/** How an HTTP request ends when nobody carried it to its end: refused in plain words, or left by its caller. */
import { writeError } from "../answer.ts";
import { GatewayError } from "../errors.ts";
import type { Exchange, HttpRequest, HttpResponse } from "../ports.ts";

/** A request whose body nobody read must not be followed by another on the same connection. */
const closeAfterUnreadBody = (request: HttpRequest, response: HttpResponse): void => {
  if (!request.complete && !response.headersSent) response.setHeader("Connection", "close");
};

export const refuse = (request: HttpRequest, response: HttpResponse, error: GatewayError): void => {
  if (error.code === "client_closed" || response.destroyed) return;
  closeAfterUnreadBody(request, response);
  writeError(response, error);
};

export const endWithClient = (exchange: Exchange, response: HttpResponse): void => {
  const left = (): void => {
    if (!response.writableFinished) exchange.end(new GatewayError("client_closed"));
  };
  response.once("close", left);
  if (response.destroyed) left();
};
