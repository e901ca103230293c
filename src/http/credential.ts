import { GatewayError } from "../errors.ts";
import type { Credential, HttpRequest } from "../ports.ts";
import { sentValues } from "./sent.ts";

/** The value of a header; throws `bad_request` when it was sent twice: two readers might take different ones. */
const oneHeader = (request: HttpRequest, name: string): string => {
  const [value, another] = sentValues(request, name);
  if (another !== undefined)
    throw new GatewayError("bad_request", { text: `header ${name} is given more than once` });
  return value?.trim() ?? "";
};

const bearer = /^bearer[ \t]+([^ \t]+)/i;

/**
 * The caller's credential (nomad-http.md §1.5): `X-Nomad-Token` wins over `Authorization: Bearer`, blank counts as
 * absent, other schemes are ignored.
 */
export const readCredential = (request: HttpRequest, address?: string): Credential => {
  const token = oneHeader(request, "x-nomad-token");
  const secret = bearer.exec(oneHeader(request, "authorization"))?.[1];
  if (token !== "") return { secret: token, source: "header", address };
  return { secret, source: secret === undefined ? "none" : "bearer", address };
};

/** The secret when it came as a bearer: no ACL token of the header's counts as one. */
export const bearerOf = ({ secret, source }: Credential): string | undefined =>
  source === "bearer" ? secret : undefined;
