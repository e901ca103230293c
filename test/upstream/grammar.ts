/** The head of an answer as its grammar has it (RFC 9112 §4, §5), word for word in patterns: what the reader's verdict is held against. */

const statusLine = /^HTTP\/1\.1 ([1-9]\d\d)(?: [^\0\r\n]*)?$/;
const fieldLine =
  /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t ]*([\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?|) *$/;

/** Undefined when it is no head. */
export const fieldsOf = (
  text: string,
):
  | { readonly status: number; readonly fields: readonly (readonly [string, string])[] }
  | undefined => {
  const [first = "", ...lines] = text.split("\r\n");
  const status = Number(statusLine.exec(first)?.[1]);
  const found = lines.map((line) => fieldLine.exec(line));
  if (Number.isNaN(status) || found.includes(null)) return undefined;
  return {
    status,
    fields: found.map((parts) => [(parts?.[1] ?? "").toLowerCase(), parts?.[2] ?? ""]),
  };
};
