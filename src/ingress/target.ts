/**
 * The request target, checked before anything routes on it: one decoded form for routing, permission and the agent.
 * Nomad answers `//` and `/./` with a redirect to the cleaned path (nomad-http.md §1.2); what could mean two things to
 * two readers (`..`, encoded separators, control bytes) is refused.
 */
import { GatewayError } from "../errors.ts";

export type Target =
  | { readonly kind: "path"; readonly path: string; readonly query: string }
  | { readonly kind: "redirect"; readonly location: string };

const maxTargetLength = 16 * 1024;
const schemeAndAuthority = /^https?:\/\/[^/?#]*/i;
const forbiddenRaw = /[\\#]|[^\x21-\x7e]/;
const forbiddenEncoded = /%(?:00|0[aAdD]|5[cC])/;
const encodedDot = /%2[eE]/;
const encodedSlash = /%2[fF]/;
/** Job ids may hold a slash, which clients send encoded; no other id may. */
const slashesAllowed = /^\/v1\/job\//;
/** Nothing to decode, to clean or to refuse: most paths, which are then looked at once. */
const plain = /^(?:\/[A-Za-z0-9_~-][A-Za-z0-9_.~-]*)+$/;

const refuse = (text: string): GatewayError => new GatewayError("bad_request", { text });

const decoded = (segment: string): string => {
  try {
    return decodeURIComponent(segment);
  } catch (cause) {
    throw new GatewayError(
      "bad_request",
      { text: "the path is not valid percent-encoded UTF-8" },
      { cause },
    );
  }
};

const checkRaw = (path: string): void => {
  if (forbiddenRaw.test(path) || forbiddenEncoded.test(path))
    throw refuse(
      "the path holds a backslash, a control byte or a character that must be percent-encoded",
    );
  if (encodedDot.test(path)) throw refuse("the path holds an encoded dot; send it plain");
  if (encodedSlash.test(path) && !slashesAllowed.test(path))
    throw refuse("the path holds an encoded slash");
};

/** The path of a target that has nothing to decode, to clean or to refuse; undefined for all others, which `readTarget` reads. */
export const plainPath = (url: string): string | undefined => {
  if (url.length > maxTargetLength) return undefined;
  const mark = url.indexOf("?");
  const path = mark < 0 ? url : url.slice(0, mark);
  return plain.test(path) ? path : undefined;
};

/** Reads an origin-form or absolute-form target. Throws `bad_request`. */
export const readTarget = (url: string): Target => {
  if (url.length > maxTargetLength)
    throw refuse(`the request target is longer than ${maxTargetLength} bytes`);
  const target = url.replace(schemeAndAuthority, "");
  const mark = target.indexOf("?");
  const raw = mark < 0 ? target : target.slice(0, mark);
  const query = mark < 0 ? "" : target.slice(mark + 1);
  if (plain.test(raw)) return { kind: "path", path: raw, query };
  if (!raw.startsWith("/")) throw refuse("the request target must be a path that begins with /");
  checkRaw(raw);
  const segments = raw.slice(1).split("/");
  if (segments.includes("..")) throw refuse("the path holds a .. segment");
  const clean = segments.filter(
    (segment, at) => segment !== "." && (segment !== "" || at === segments.length - 1),
  );
  const path = `/${clean.map((segment) => encodeURIComponent(decoded(segment))).join("/")}`;
  if (clean.length < segments.length)
    return { kind: "redirect", location: mark < 0 ? path : `${path}?${query}` };
  return { kind: "path", path, query };
};
