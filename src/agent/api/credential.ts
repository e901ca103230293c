/** The caller's credential out of a request's headers (nomad-http.md §1.5). A header given twice decides nothing: 400. */
import type { IncomingMessage } from "node:http";
import { GatewayError } from "../../errors.ts";
import type { Credential } from "../../ports.ts";

export interface Presented {
  readonly credential: Credential;
  /** The bearer token when it is what decides; the gateway's pull secret comes this way. */
  readonly bearer: string | undefined;
}

/** The value of a header; throws `bad_request` when it was sent twice. */
export const oneHeader = (request: IncomingMessage, name: string): string | undefined => {
  const values = request.headersDistinct[name];
  if (values && values.length > 1)
    throw new GatewayError("bad_request", { text: `header ${name} is given more than once` });
  return values?.[0];
};

const bearerOf = (header: string | undefined): string | undefined =>
  /^bearer[ \t]+([^ \t]+)/i.exec(header?.trim() ?? "")?.[1];

export const presented = (request: IncomingMessage): Presented => {
  const header = oneHeader(request, "x-nomad-token")?.trim();
  const bearer = bearerOf(oneHeader(request, "authorization"));
  if (header) return { credential: { secret: header, source: "header" }, bearer: undefined };
  if (bearer) return { credential: { secret: bearer, source: "bearer" }, bearer };
  return { credential: { secret: undefined, source: "none" }, bearer: undefined };
};
