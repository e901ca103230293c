import type { HttpRequest } from "../ports.ts";

/** The values of a header, one for each time it was sent. Only that one is looked for: `headersDistinct` lists them all. */
export const sentValues = (
  { rawHeaders }: Pick<HttpRequest, "rawHeaders">,
  lowerCaseName: string,
): readonly string[] => {
  const values: string[] = [];
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] ?? "";
    if (name.length === lowerCaseName.length && name.toLowerCase() === lowerCaseName)
      values.push(rawHeaders[at + 1] ?? "");
  }
  return values;
};
