/**
 * Rows of settings and the zod schema they make. A row states its kind, default and sentence once; the schema, the
 * typed result (camelCase, units in names), the environment's names and the reference all derive from it.
 */
import { z } from "zod";
import type { Kind } from "./kinds.ts";

export interface Setting<T = unknown, Suffix extends string = string> {
  readonly type: "setting";
  readonly kind: Kind<unknown, string>;
  readonly suffix: Suffix;
  /** As a file would hold it; undefined: none. */
  readonly fallback: unknown;
  /** Says in the reference what a default is that differs from machine to machine. */
  readonly shown: string | undefined;
  readonly required: boolean;
  /** `***` wherever it is printed; comes from `<key>_file` too when it is one text. */
  readonly secret: boolean;
  readonly about: string;
  readonly schema: z.ZodType<T>;
}

export interface Section<T = unknown> {
  readonly type: "section";
  readonly about: string;
  readonly rows: Rows;
  readonly schema: z.ZodType<T>;
}

export interface List<T = unknown> {
  readonly type: "list";
  readonly about: string;
  readonly rows: Rows;
  readonly schema: z.ZodType<readonly T[]>;
}

export type Row = Setting | Section | List;
export type Rows = Readonly<Record<string, Row>>;

type Camel<S extends string> = S extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<Camel<Tail>>}`
  : S;
type NameOf<K extends string, R> =
  R extends Setting<unknown, infer Suffix> ? `${Camel<K>}${Suffix}` : Camel<K>;
/** What the rows become. */
export type Settled<R extends Rows> = {
  readonly [K in keyof R & string as NameOf<K, R[K]>]: z.output<R[K]["schema"]>;
};

const camel = (key: string): string =>
  key.replace(/_([a-z0-9])/g, (_match, letter: string) => letter.toUpperCase());

const schemaOf = <T>(kind: Kind<T, string>): z.ZodType<T> =>
  z.unknown().transform((value, context): T => {
    const parsed = kind.parse(value);
    if (parsed !== undefined) return parsed;
    const message = value === undefined ? "is required" : `must be ${kind.words}`;
    context.addIssue({ code: "custom", message });
    return z.NEVER;
  });

/** A row with a default, written as a file would hold it. */
export const setting = <T, Suffix extends string>(
  kind: Kind<T, Suffix>,
  fallback: unknown,
  about: string,
): Setting<T, Suffix> => ({
  type: "setting",
  kind,
  suffix: kind.suffix,
  fallback,
  shown: undefined,
  required: false,
  secret: false,
  about,
  schema: z.preprocess((value) => (value === undefined ? fallback : value), schemaOf(kind)),
});

/** A row that may be left out: undefined then. */
export const optional = <T, Suffix extends string>(
  kind: Kind<T, Suffix>,
  about: string,
): Setting<T | undefined, Suffix> => ({
  ...setting(kind, undefined, about),
  schema: schemaOf(kind).optional(),
});

export const required = <T, Suffix extends string>(
  kind: Kind<T, Suffix>,
  about: string,
): Setting<T, Suffix> => ({
  ...setting(kind, undefined, about),
  required: true,
  schema: schemaOf(kind),
});

/** The same row, never printed. */
export const secret = <T, Suffix extends string>(row: Setting<T, Suffix>): Setting<T, Suffix> => ({
  ...row,
  secret: true,
});

export const shownAs = <T, Suffix extends string>(
  shown: string,
  row: Setting<T, Suffix>,
): Setting<T, Suffix> => ({ ...row, shown });

/** What a row is called among the typed settings. */
export const typedName = (key: string, row: Row): string =>
  `${camel(key)}${row.type === "setting" ? row.suffix : ""}`;

const settle =
  (rows: Rows) =>
  (values: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> =>
    Object.fromEntries(
      Object.entries(rows).map(([key, row]) => [typedName(key, row), values[key]]),
    );

const objectOf = <R extends Rows>(rows: R): z.ZodType<Settled<R>> => {
  const shape = Object.fromEntries(Object.entries(rows).map(([key, row]) => [key, row.schema]));
  const schema: unknown = z
    .strictObject(shape, { error: () => "must be a group of settings" })
    .transform(settle(rows));
  return schema as z.ZodType<Settled<R>>; // the rows are the type: `settle` names each as `Settled` does
};

/** A group of rows; left out, or left empty, each row takes its default. */
export const section = <R extends Rows>(about: string, rows: R): Section<Settled<R>> => ({
  type: "section",
  about,
  rows,
  schema: z.preprocess((value) => value ?? {}, objectOf(rows)),
});

/** A group that may be left out altogether: undefined then. */
export const optionalSection = <R extends Rows>(
  about: string,
  rows: R,
): Section<Settled<R> | undefined> => ({
  type: "section",
  about,
  rows,
  schema: objectOf(rows).optional(),
});

/** Any number of groups, in a list; none by default. */
export const list = <R extends Rows>(about: string, rows: R): List<Settled<R>> => ({
  type: "list",
  about,
  rows,
  schema: z.preprocess(
    (value) => value ?? [],
    z.array(objectOf(rows), { error: () => "must be a list" }),
  ),
});

/** One kind of file: its rows, and what no single row can say. */
export interface Document<T> {
  readonly kind: "server" | "agent" | "connect";
  /** Of its variables in the environment. */
  readonly prefix: string;
  readonly root: Section<T>;
  /** Each `setting: what is wrong`; of what is not sound in itself, as far as that is (`faultsOf`). */
  readonly faults: (config: T) => readonly string[];
  readonly warnings: (config: T) => readonly string[];
}
