/** Nomad's answers to paths that no route has (nomad-http.md §1.2). */
import path from "node:path";

const withoutSlash: ReadonlySet<string> = new Set([
  "/v1/client/fs",
  "/v1/client/allocation",
  "/v1/allocation",
  "/v1/node",
]);

/** Where a path that is not clean is sent to; undefined when it is. `pathname` is not decoded. */
export const cleanPath = (pathname: string): string | undefined => {
  if (withoutSlash.has(pathname)) return `${pathname}/`;
  const cleaned = path.posix.normalize(pathname);
  return cleaned === pathname ? undefined : cleaned;
};

/** Nomad's 404 for a path without a route: its texts below two trees, nothing elsewhere. */
export const unknownPath = (pathname: string): string => {
  if (pathname.startsWith("/v1/client/fs/")) return "Invalid method";
  const inTree = /^\/v1\/(?:client\/)?allocation\//.test(pathname);
  return inTree ? "resource not found" : "";
};
