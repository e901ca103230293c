/** What `Range` asks for, and which bytes of a file that is (RFC 9110 §14.1.2). Pure. */

export type ByteRange =
  | { readonly kind: "from"; readonly first: number; readonly last: number }
  | { readonly kind: "final"; readonly count: number };

export interface Part {
  readonly start: number;
  readonly length: number;
}

const single = /^bytes=[\t ]*(?:(\d+)-(\d*)|-(\d+))[\t ]*$/i;

/** Undefined for what is to be ignored: no range, several of them, another unit, or nonsense. */
export const parseRange = (text: string | undefined): ByteRange | undefined => {
  const [, first, last, count] = single.exec(text ?? "") ?? [];
  if (count !== undefined) return { kind: "final", count: Number(count) };
  if (first === undefined) return undefined;
  const range = {
    kind: "from",
    first: Number(first),
    last: last ? Number(last) : Number.POSITIVE_INFINITY,
  } as const;
  return range.last < range.first ? undefined : range;
};

/** The part of a file of so many bytes; undefined when the range has none of them. */
export const partOf = (range: ByteRange, size: number): Part | undefined => {
  const start = range.kind === "from" ? range.first : Math.max(0, size - range.count);
  if (start >= size) return undefined;
  const last = range.kind === "from" ? Math.min(range.last, size - 1) : size - 1;
  return { start, length: last - start + 1 };
};
